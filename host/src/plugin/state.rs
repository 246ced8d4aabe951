//! What one call carries with it: the store's data, and the facts that its host functions share.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::bindings::imported::log::Level;
use super::functions::http::Egress;
use super::functions::log::printable;
use super::functions::stdio::Printed;
use super::limits::{Limits, SandboxGuard, size};
use super::own_time::HostWaits;
use super::release::ReleaseFacts;
use super::services::{Checkpoints, Messaging, SecretSource, Signer, Work};
use super::targets::TargetReports;
use super::way::Way;

/// What the host functions rest on. Shared by all calls.
#[derive(Clone)]
pub struct Services {
    pub checkpoints: Arc<dyn Checkpoints>,
    pub signer: Arc<dyn Signer>,
    pub messaging: Arc<dyn Messaging>,
    pub secrets: Arc<dyn SecretSource>,
}

/// The headers of one request and their bookkeeping, in bytes.
const HTTP_FIELDS_BYTES_MAX: usize = 32 << 10;
/// Resources of the host that one call may hold at the same time. Behind each of them the host
/// keeps some tens of KiB at most (headers, what a guest has written into a body, a path), so that
/// a guest that leaks them all costs it about as much as its own memory.
pub(super) const RESOURCES_MAX: usize = 1_024;
/// Remarks kept of one call.
const NOTES_MAX: usize = 8;

/// A store's data: one call of one instance.
pub(super) struct CallState {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    egress: Egress,
    pub(super) guard: SandboxGuard,
    pub(super) facts: Arc<CallFacts>,
    pub(super) printed: Printed,
}

impl CallState {
    pub(super) fn new(facts: Arc<CallFacts>) -> Self {
        let printed = Printed::default();
        let limits = &facts.release.manifest.limits;
        // No arguments, no environment, no folders, no sockets: only clocks and random numbers.
        let wasi = WasiCtx::builder()
            .stdout(printed.clone())
            .stderr(printed.clone())
            .max_random_size(limits.random)
            .build();
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(HTTP_FIELDS_BYTES_MAX);
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        Self {
            table,
            wasi,
            http,
            egress: Egress { facts: Arc::clone(&facts) },
            guard: SandboxGuard::new(limits),
            facts,
            printed,
        }
    }
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for CallState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.egress, table: &mut self.table, ctx: &mut self.http }
    }
}

/// What a call is for, and what it has done so far. Shared with the tasks of its requests.
pub(crate) struct CallFacts {
    pub(crate) release: Arc<ReleaseFacts>,
    /// Where its requests go.
    pub(super) way: Way,
    /// None while a plugin judges a withdrawal that is not written yet: then nothing is granted.
    pub(crate) on_event: Option<(Work, Services)>,
    pub(crate) idempotency_key: String,
    pub(crate) traceparent: Option<String>,
    /// What may have left the host: requests and messages, but for those that surely did not.
    departures: AtomicU32,
    /// Outbound requests and messages so far, the refused ones too.
    requests: AtomicU32,
    /// Calls of the store, the signer and the secrets so far, the refused ones too.
    host_calls: AtomicU32,
    checkpoint_saves: AtomicU32,
    log_lines: AtomicU32,
    log_bytes: AtomicUsize,
    /// Calls of the host's own store that are under way, or failed because it is away.
    store_waits: AtomicU32,
    notes: Mutex<Vec<String>>,
    /// What the host made it wait, which is not of its own time.
    pub(super) host_waits: HostWaits,
    /// What it showed of its targets.
    pub(crate) targets: Arc<TargetReports>,
}

impl CallFacts {
    pub(super) fn new(
        release: Arc<ReleaseFacts>,
        way: Way,
        on_event: Option<(Work, Services)>,
        idempotency_key: String,
        traceparent: Option<String>,
    ) -> Self {
        Self {
            release,
            way,
            on_event,
            idempotency_key,
            traceparent,
            departures: AtomicU32::new(0),
            requests: AtomicU32::new(0),
            host_calls: AtomicU32::new(0),
            checkpoint_saves: AtomicU32::new(0),
            log_lines: AtomicU32::new(0),
            log_bytes: AtomicUsize::new(0),
            store_waits: AtomicU32::new(0),
            notes: Mutex::new(Vec::new()),
            host_waits: HostWaits::default(),
            targets: Arc::default(),
        }
    }

    /// The same, reporting what it shows of its targets.
    pub(super) fn reporting_to(mut self, targets: &Arc<TargetReports>) -> Self {
        self.targets = Arc::clone(targets);
        self
    }

    /// The event and the services, or why there are none.
    pub(super) fn working(&self) -> Result<(&Work, &Services), String> {
        match &self.on_event {
            Some((work, services)) => Ok((work, services)),
            None => Err("not available while a withdrawal is judged".to_owned()),
        }
    }

    /// The number of this request or message within the call, from 1; `Err` beyond the limit.
    pub(super) fn count_request(&self) -> Result<u32, String> {
        let max = self.release.manifest.limits.requests;
        self.count(&self.requests, max, "requests")
    }

    /// One more call of checkpoint, secrets or signer; `Err` beyond the limit.
    pub(super) fn count_host_call(&self) -> Result<(), String> {
        let max = self.release.manifest.limits.host_calls;
        self.count(&self.host_calls, max, "host calls").map(drop)
    }

    /// One more checkpoint; `Err` beyond the limit.
    pub(super) fn count_save(&self) -> Result<(), String> {
        self.count_host_call()?;
        let max = self.release.manifest.limits.checkpoint_saves;
        self.count(&self.checkpoint_saves, max, "checkpoint saves").map(drop)
    }

    fn count(&self, counter: &AtomicU32, max: u32, of_what: &str) -> Result<u32, String> {
        let number = counter.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if number <= max {
            return Ok(number);
        }
        let reason = format!("limit of {max} {of_what} a call reached");
        self.note(reason.clone());
        Err(reason)
    }

    /// The host's store is asked. Said before, so that a call that is dropped meanwhile counts.
    pub(super) fn store_begins(&self) {
        self.store_waits.fetch_add(1, Ordering::Relaxed);
    }

    /// It answered, or was away.
    pub(super) fn store_answered(&self, answered: bool) {
        if answered {
            self.store_waits.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether what became of the call is the store's doing: then it is not the event's.
    pub(super) fn store_was_away(&self) -> bool {
        self.store_waits.load(Ordering::Relaxed) > 0
    }

    /// Something is on its way. Said before it goes, so that a call that is dropped meanwhile counts.
    pub(super) fn departs(&self) {
        self.departures.fetch_add(1, Ordering::Relaxed);
    }

    /// What was on its way did surely not leave the host.
    pub(super) fn stayed(&self) {
        self.departures.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether anything may have left the host during the call.
    pub(super) fn may_have_sent(&self) -> bool {
        self.departures.load(Ordering::Relaxed) > 0
    }

    /// Keeps a remark for the operator: it becomes part of the attempt's reason if it fails.
    pub(super) fn note(&self, note: String) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() < NOTES_MAX && !notes.contains(&note) {
            notes.push(note);
        }
    }

    pub(super) fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes a guest's line, unless it has written its share.
    pub(super) fn log(&self, level: Level, message: &str) {
        let manifest = &self.release.manifest;
        let line = self.log_lines.fetch_add(1, Ordering::Relaxed);
        if line >= manifest.limits.log_lines {
            if line == manifest.limits.log_lines {
                tracing::warn!(plugin.name = %manifest.name, "limit of {line} log lines a call reached; the rest is dropped");
            }
            return;
        }
        // First cut where nobody reads any more, or a long line would cost the host's time.
        let read = &message[..message.floor_char_boundary(Limits::LOG_LINE_BYTES * 4)];
        let message = self.release.outbound.redactor.text(read);
        let message = printable(&message, Limits::LOG_LINE_BYTES);
        let max = manifest.limits.log_bytes;
        let before = self.log_bytes.fetch_add(message.len(), Ordering::Relaxed);
        if before.saturating_add(message.len()) > max {
            if before <= max {
                let max = size(max as u64);
                tracing::warn!(plugin.name = %manifest.name, "limit {max} of log lines a call reached; the rest is dropped");
            }
            // Whatever comes later is dropped too, even if it would fit: a gap must be an end.
            self.log_bytes.fetch_max(max.saturating_add(1), Ordering::Relaxed);
            return;
        }
        // A shadow's lines are not to be taken for the live release's.
        let name = if self.way.is_shadow() {
            Cow::Owned(format!("{} (shadow)", manifest.name))
        } else {
            self.release.outbound.notices.hear(&manifest.name, level, &message);
            Cow::Borrowed(&manifest.name)
        };
        let event = self.on_event.as_ref().map(|(work, _)| work.event.to_string());
        match level {
            Level::Debug => tracing::debug!(plugin.name = %name, event.id = event, "{message}"),
            Level::Info => tracing::info!(plugin.name = %name, event.id = event, "{message}"),
            Level::Warn => tracing::warn!(plugin.name = %name, event.id = event, "{message}"),
            Level::Error => tracing::error!(plugin.name = %name, event.id = event, "{message}"),
        }
    }
}
