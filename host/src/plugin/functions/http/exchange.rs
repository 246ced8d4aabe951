//! One request from its asking to the last byte of its answer: recorded and counted, however it
//! ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use http::Request;
use wasmtime_wasi_http::WasiBody;

use super::super::super::egress::{Answered, AuditRecord, Egress, EgressClient};
use super::super::super::grants::canonical_host;
use super::super::super::state::CallFacts;
use super::admit::Admitted;

/// Of what a guest calls a host or a method, as much as is recorded.
const NAME_CHARS_MAX: usize = 255;

/// The guest did not read the answer's body to its end.
const UNREAD: &str = "unread";

/// Written when it is dropped, so also when a call ends in the middle of it.
pub(super) struct Exchange {
    facts: Arc<CallFacts>,
    connections: Arc<Egress>,
    at: SystemTime,
    began: Instant,
    grant: Option<usize>,
    method: String,
    scheme: &'static str,
    host: String,
    port: u16,
    status: Option<u16>,
    error: Option<&'static str>,
    bytes_out: Arc<AtomicU64>,
    bytes_in: u64,
}

impl Exchange {
    pub(super) fn begin(
        facts: &Arc<CallFacts>,
        connections: &Arc<Egress>,
        request: &Request<WasiBody>,
    ) -> Self {
        let uri = request.uri();
        let scheme = if uri.scheme_str() == Some("http") { "http" } else { "https" };
        let known = if scheme == "http" { 80 } else { 443 };
        Self {
            facts: Arc::clone(facts),
            connections: Arc::clone(connections),
            at: SystemTime::now(),
            began: Instant::now(),
            grant: None,
            method: request.method().as_str().chars().take(NAME_CHARS_MAX).collect(),
            scheme,
            host: uri.host().unwrap_or_default().chars().take(NAME_CHARS_MAX).collect(),
            port: uri.port_u16().unwrap_or(known),
            status: None,
            // Unless it comes to something else.
            error: Some("aborted"),
            bytes_out: Arc::default(),
            bytes_in: 0,
        }
    }

    pub(super) fn admitted(&mut self, admitted: &Admitted) {
        self.grant = Some(admitted.grant);
        if let Some(host) = canonical_host(&admitted.url) {
            self.host = host.to_string();
        }
    }

    /// The connections of its grant.
    pub(super) fn client(&self) -> Option<&EgressClient> {
        self.connections.client(self.grant?)
    }

    pub(super) fn deny(&mut self) {
        self.error = Some("denied");
    }

    pub(super) fn fail(&mut self, error: &'static str) {
        self.error = Some(error);
    }

    pub(super) fn answered(&mut self, status: u16) {
        self.status = Some(status);
        self.error = Some(UNREAD);
    }

    /// The answer was read to its end.
    pub(super) fn complete(&mut self) {
        self.error = None;
    }

    /// Where the bytes of the request's body are counted.
    pub(super) fn sent(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes_out)
    }

    pub(super) fn received(&mut self, bytes: usize) {
        self.bytes_in = self.bytes_in.saturating_add(bytes as u64);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let release = &self.facts.release;
        let took = self.began.elapsed();
        let bytes_out = self.bytes_out.load(Ordering::Relaxed);
        let answered = match (self.status, self.error) {
            (_, Some("denied")) => Answered::Denied,
            // A status has three digits, so its class fits.
            (Some(status), None | Some(UNREAD)) => {
                Answered::Class(u8::try_from(status / 100).unwrap_or(0))
            }
            (_, _) => Answered::Error,
        };
        self.connections.counts(self.grant).count(answered, took, bytes_out, self.bytes_in);
        let at = DateTime::<Utc>::from(self.at).to_rfc3339_opts(SecondsFormat::Millis, true);
        release.outbound.audit.write(&AuditRecord {
            at,
            plugin: &release.manifest.name,
            release: &release.digest,
            event: self.facts.on_event.as_ref().map(|(work, _)| work.event.to_string()),
            method: &self.method,
            scheme: self.scheme,
            host: &self.host,
            port: self.port,
            status: self.status,
            error: self.error,
            ms: (took.as_secs_f64() * 1e6).round() / 1e3,
            bytes_out,
            bytes_in: self.bytes_in,
        });
    }
}
