//! The sandboxed call: a fresh instance, one export, and from whatever happens an `Outcome`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use wasmtime::{PoolConcurrencyLimitError, Store};

use super::bindings::exported::handler::{Event, Failure, Receipt as GuestReceipt};
use super::bindings::imported::log::Level;
use super::bindings::imported::types::Finding;
use super::engine::SandboxEngine;
use super::functions::log::printable;
use super::receipt;
use super::release::{Release, ReleaseError, ReleaseFacts};
use super::services::Work;
use super::state::{CallFacts, CallState, Services};
use crate::domain::{EventState, OutboxEvent, Outcome, WithdrawalRequest};

/// A reason longer than this is cut.
const REASON_BYTES_MAX: usize = 2 << 10;
/// How long an event waits for a place in a full pool of instances.
const POOL_FULL_WAIT: Duration = Duration::from_millis(100);
/// How long an event waits after the host's store was away while its handler worked.
const STORE_AWAY_WAIT: Duration = Duration::from_secs(1);
/// A judgement only computes, and somebody waits for it: the longest wait, for a place included.
const VALIDATE_WITHIN: Duration = Duration::from_secs(5);

/// How a call ended that gave no answer.
struct Aborted {
    reason: String,
    /// Whether something may have left the host before.
    outcome_unknown: bool,
    /// It never ran, for want of a place.
    not_begun: bool,
    /// It waited for the host's store, or could not do without it.
    store_away: bool,
}

impl Aborted {
    fn into_outcome(self) -> Outcome {
        let Self { reason, outcome_unknown, not_begun, store_away } = self;
        if not_begun {
            Outcome::Interrupted { reason, after: POOL_FULL_WAIT, outcome_unknown: false }
        } else if store_away {
            Outcome::Interrupted { reason, after: STORE_AWAY_WAIT, outcome_unknown }
        } else if outcome_unknown {
            Outcome::Unknown { reason }
        } else {
            Outcome::Retry { reason, after: None }
        }
    }
}

/// Why a plugin's judgement could not be had, or what it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValidateError {
    /// The plugin rejects the withdrawal.
    #[error("{0}")]
    Rejected(String),
    /// The plugin failed: nothing is known.
    #[error("{0}")]
    Unavailable(String),
}

impl Release {
    /// Makes one attempt at an event that this host holds: asks the plugin what happened, if the
    /// last attempt's outcome is unknown and it can say so, and else lets it act.
    pub async fn attempt(
        &self,
        engine: &SandboxEngine,
        event: &OutboxEvent,
        services: &Services,
    ) -> Outcome {
        let EventState::Processing(lease) = &event.state else {
            return Outcome::Reject { reason: "the host does not hold this event".into() };
        };
        let work = Work {
            event: event.id,
            token: lease.token,
            withdrawal: event.aggregate.as_withdrawal(),
        };
        let _counted = self.call_begins();
        let limits = &self.facts.manifest.limits;
        if event.payload.len() > limits.payload {
            let reason = format!("payload limit of {} bytes reached", limits.payload);
            return Outcome::Reject { reason };
        }
        if event.outcome_unknown && self.reconciles() {
            match self.reconcile(engine, event, work, services).await {
                Ok(Finding::Happened(receipt)) => return self.receive(event, receipt),
                Ok(Finding::DidNotHappen) => {}
                Err(outcome) => return outcome,
            }
        }
        match self.handle(engine, event, work, services).await {
            Ok(receipt) => self.receive(event, receipt),
            Err(outcome) => outcome,
        }
    }

    async fn handle(
        &self,
        engine: &SandboxEngine,
        event: &OutboxEvent,
        work: Work,
        services: &Services,
    ) -> Result<GuestReceipt, Outcome> {
        let facts = self.call_facts(work, services, event, event.idempotency_key.to_string());
        let record = guest_event(event);
        let answer = self
            .call(engine, &facts, async |instance, store| {
                let guest = self.exports.handler.load(&mut *store, &instance)?;
                guest.call_handle(store, &record).await
            })
            .await
            .map_err(Aborted::into_outcome)?;
        answer.map_err(|failure| explain(&facts, failure))
    }

    async fn reconcile(
        &self,
        engine: &SandboxEngine,
        event: &OutboxEvent,
        work: Work,
        services: &Services,
    ) -> Result<Finding, Outcome> {
        let Some(reconciler) = &self.exports.reconciler else { return Ok(Finding::DidNotHappen) };
        // Keys of its own, new ones with each attempt: a target that answers a key as it did before
        // would answer with what was true then.
        let key = format!("{}-reconcile-{}", event.idempotency_key, attempt_number(event));
        let facts = self.call_facts(work, services, event, key);
        let record = guest_event(event);
        // Whatever goes wrong while it looks, the earlier outcome is as unknown as before.
        let unknown = |outcome| match outcome {
            Outcome::Retry { reason, .. } => Outcome::Unknown { reason },
            Outcome::Interrupted { reason, after, .. } => {
                Outcome::Interrupted { reason, after, outcome_unknown: true }
            }
            Outcome::Defer { after } => Outcome::Interrupted {
                reason: "reconcile: not ready yet".into(),
                after,
                outcome_unknown: true,
            },
            Outcome::Done(_) | Outcome::Unknown { .. } | Outcome::Reject { .. } => outcome,
        };
        let answer = self
            .call(engine, &facts, async |instance, store| {
                let guest = reconciler.load(&mut *store, &instance)?;
                guest.call_reconcile(store, &record).await
            })
            .await
            .map_err(|aborted| unknown(aborted.into_outcome()))?;
        answer.map_err(|failure| unknown(explain(&facts, failure)))
    }

    /// Instantiates the component once and looks at the types of its exports, before it becomes
    /// live: what is wrong with them would else show only at the first event.
    ///
    /// # Errors
    /// [`ReleaseError::DoesNotStart`].
    pub async fn rehearse(&self, engine: &SandboxEngine) -> Result<(), ReleaseError> {
        let facts = Arc::new(CallFacts::new(Arc::clone(&self.facts), None, String::new(), None));
        self.call(engine, &facts, async |instance, store| {
            self.exports.handler.load(&mut *store, &instance)?;
            if let Some(reconciler) = &self.exports.reconciler {
                reconciler.load(&mut *store, &instance)?;
            }
            if let Some(chain) = &self.exports.chain {
                chain.load(&mut *store, &instance)?;
            }
            Ok(())
        })
        .await
        .map_err(|aborted| ReleaseError::DoesNotStart {
            plugin: self.facts.manifest.name.clone(),
            cause: aborted.reason,
        })
    }

    /// Asks the plugin to judge a withdrawal before anything is written. It has no grant meanwhile,
    /// and a few seconds at most.
    ///
    /// # Errors
    /// See [`ValidateError`].
    pub async fn validate(
        &self,
        engine: &SandboxEngine,
        request: &WithdrawalRequest,
    ) -> Result<(), ValidateError> {
        let Some(chain) = &self.exports.chain else { return Ok(()) };
        let facts = Arc::new(CallFacts::new(Arc::clone(&self.facts), None, String::new(), None));
        let (network, amount) = (request.network.to_string(), request.amount.to_string());
        let judged = async {
            // Of the plugin's own, so that a flood of requests takes no place from its events.
            let _slot = self.judgements.acquire().await;
            self.call(engine, &facts, async |instance, store| {
                let guest = chain.load(&mut *store, &instance)?;
                let (asset, destination) = (&request.asset, &request.destination_address);
                guest.call_validate(store, &network, asset, &amount, destination).await
            })
            .await
        };
        match tokio::time::timeout(VALIDATE_WITHIN, judged).await {
            Ok(Ok(answer)) => {
                answer.map_err(|reason| ValidateError::Rejected(facts.release.text(&reason)))
            }
            Ok(Err(aborted)) => Err(ValidateError::Unavailable(aborted.reason)),
            Err(_) => Err(ValidateError::Unavailable(format!(
                "no judgement within {} s",
                VALIDATE_WITHIN.as_secs()
            ))),
        }
    }

    fn call_facts(
        &self,
        work: Work,
        services: &Services,
        event: &OutboxEvent,
        idempotency_key: String,
    ) -> Arc<CallFacts> {
        Arc::new(CallFacts::new(
            Arc::clone(&self.facts),
            Some((work, services.clone())),
            idempotency_key,
            event.traceparent.clone(),
        ))
    }

    /// Runs one export in a fresh instance, within all limits. Cancel-safe: dropping it drops the
    /// instance, and its requests with it.
    async fn call<T>(
        &self,
        engine: &SandboxEngine,
        facts: &Arc<CallFacts>,
        export: impl AsyncFnOnce(
            wasmtime::component::Instance,
            &mut Store<CallState>,
        ) -> wasmtime::Result<T>,
    ) -> Result<T, Aborted> {
        let _place = engine.place(self.weight).await;
        let mut store = Store::new(engine.get(), CallState::new(Arc::clone(facts)));
        store.limiter(|state| &mut state.memory);
        // Gives the thread back at each tick, so that a guest that spins stops nobody, and the
        // time-out below is noticed.
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        // What a call may make the host copy for it at most.
        store.set_hostcall_fuel(super::limits::Limits::BYTES_MAX * 2);

        let timeout = facts.release.manifest.limits.timeout;
        let run = async {
            let instance = self.instance.instantiate_async(&mut store).await?;
            export(instance, &mut store).await
        };
        // A panic in a host function must end this call, and not the host.
        let run = AssertUnwindSafe(tokio::time::timeout(timeout, run)).catch_unwind();
        let reason = match run.await {
            Ok(Ok(Ok(answer))) => {
                log_printed(facts, &store);
                return Ok(answer);
            }
            Ok(Ok(Err(error))) => trap_reason(&store, &error),
            Ok(Err(_)) => Ok(format!("time limit {}ms reached", timeout.as_millis())),
            Err(_) => Ok("the host panicked during the call".to_owned()),
        };
        log_printed(facts, &store);
        Err(match reason {
            Ok(reason) => Aborted {
                reason: with_notes(facts, &reason),
                outcome_unknown: facts.may_have_sent(),
                not_begun: false,
                store_away: facts.store_was_away(),
            },
            Err(reason) => {
                Aborted { reason, outcome_unknown: false, not_begun: true, store_away: false }
            }
        })
    }

    /// Takes a receipt, after checking it against the grants. What does not fit is `unknown`: the
    /// handler says that it acted, so it may have.
    fn receive(&self, event: &OutboxEvent, receipt: GuestReceipt) -> Outcome {
        match receipt::check(&self.facts, event, receipt) {
            Ok(receipt) => Outcome::Done(receipt),
            Err(reason) => Outcome::Unknown { reason: self.facts.text(&reason) },
        }
    }
}

/// 1 on the first.
fn attempt_number(event: &OutboxEvent) -> u32 {
    event.attempt_count.saturating_add(1)
}

fn guest_event(event: &OutboxEvent) -> Event {
    Event {
        id: event.id.to_string(),
        aggregate_type: event.aggregate.kind().to_owned(),
        aggregate_id: event.aggregate.id().to_owned(),
        event_type: event.event_type.to_string(),
        payload: event.payload.clone(),
        idempotency_key: event.idempotency_key.to_string(),
        attempt: attempt_number(event),
        created_at_ms: u64::try_from(event.created_at.timestamp_millis()).unwrap_or(0),
        traceparent: event.traceparent.clone(),
    }
}

/// A handler's own word for its failure, with what the host noticed meanwhile.
fn explain(facts: &CallFacts, failure: Failure) -> Outcome {
    let outcome = match failure {
        Failure::Retry(retry) => Outcome::Retry {
            reason: with_notes(facts, &retry.reason),
            after: retry.after_ms.map(Duration::from_millis),
        },
        Failure::Unknown(reason) => Outcome::Unknown { reason: with_notes(facts, &reason) },
        Failure::Defer(after_ms) => Outcome::Defer { after: Duration::from_millis(after_ms) },
        Failure::Reject(reason) => Outcome::Reject { reason: with_notes(facts, &reason) },
    };
    if facts.store_was_away() { spared(outcome) } else { outcome }
}

/// The same, where the host's store was away meanwhile: the event does not pay for that.
fn spared(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Retry { reason, .. } => {
            Outcome::Interrupted { reason, after: STORE_AWAY_WAIT, outcome_unknown: false }
        }
        Outcome::Unknown { reason } => {
            Outcome::Interrupted { reason, after: STORE_AWAY_WAIT, outcome_unknown: true }
        }
        Outcome::Done(_)
        | Outcome::Defer { .. }
        | Outcome::Reject { .. }
        | Outcome::Interrupted { .. } => outcome,
    }
}

/// Why the call ended without an answer; `Err` if it never began.
fn trap_reason(store: &Store<CallState>, error: &wasmtime::Error) -> Result<String, String> {
    if error.is::<PoolConcurrencyLimitError>() {
        return Err("the pool of instances is full".to_owned());
    }
    let state = store.data();
    if let Some(limit) = &state.memory.exceeded {
        return Ok(limit.clone());
    }
    let printed = state.printed.text();
    let trap = match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => format!("the handler trapped: {trap}"),
        None => format!("the handler was stopped: {:#}", error.root_cause()),
    };
    // What a panicking guest printed last says more than the trap.
    Ok(if printed.is_empty() { trap } else { format!("{trap}; it printed: {printed}") })
}

fn log_printed(facts: &CallFacts, store: &Store<CallState>) {
    // Redacted as a whole: a secret of several lines is one.
    let printed = store.data().printed.text();
    for line in facts.release.outbound.redactor.text(&printed).lines() {
        facts.log(Level::Info, line);
    }
}

/// The reason with what the host noticed, without secrets, as long as an operator reads.
fn with_notes(facts: &CallFacts, reason: &str) -> String {
    let reason = facts.release.text(reason);
    let notes = facts.notes();
    let missing: Vec<_> = notes.iter().filter(|note| !reason.contains(note.as_str())).collect();
    if missing.is_empty() {
        return reason;
    }
    let notes: Vec<_> = missing.into_iter().map(String::as_str).collect();
    facts.release.text(&format!("{reason} [{}]", notes.join("; ")))
}

impl ReleaseFacts {
    /// A guest's text, as long as an operator reads, on one line, and without secrets.
    pub(super) fn text(&self, text: &str) -> String {
        // First cut where nobody reads any more, or a long text would cost the host's time.
        let read = &text[..text.floor_char_boundary(REASON_BYTES_MAX * 8)];
        printable(&self.outbound.redactor.text(read), REASON_BYTES_MAX)
    }
}
