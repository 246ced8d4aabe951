//! The sandboxed call: a fresh instance, one export, and from whatever happens an `Outcome`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use wasmtime::{PoolConcurrencyLimitError, Store};

use super::bindings::exported::handler::{Event, Failure, Receipt as GuestReceipt};
use super::bindings::imported::log::Level;
use super::bindings::imported::types::{Finding, Transition};
use super::engine::SandboxEngine;
use super::grants::TransitionGrant;
use super::release::Release;
use super::services::Work;
use super::state::{CallFacts, CallState, Services};
use crate::domain::{
    Aggregate, EventState, NewEvent, OutboxEvent, Outcome, Receipt, Standing, WithdrawalRequest,
};

/// A reason longer than this is cut.
const REASON_BYTES_MAX: usize = 2 << 10;
/// A receipt's detail longer than this is refused.
const DETAIL_BYTES_MAX: usize = 64 << 10;
/// How long an event waits for a place in a full pool of instances.
const POOL_FULL_WAIT: Duration = Duration::from_millis(100);

/// How a call ended that gave no answer.
struct Aborted {
    reason: String,
    /// Whether something may have left the host before.
    outcome_unknown: bool,
    /// It never ran, for want of a place.
    not_begun: bool,
}

impl Aborted {
    fn into_outcome(self) -> Outcome {
        let Self { reason, outcome_unknown, not_begun } = self;
        if not_begun {
            Outcome::Interrupted { reason, after: POOL_FULL_WAIT, outcome_unknown: false }
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
        let facts = self.call_facts(event, work, services);
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
        let facts = self.call_facts(event, work, services);
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

    /// Asks the plugin to judge a withdrawal before anything is written. It has no grant meanwhile.
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
        let answer = self
            .call(engine, &facts, async |instance, store| {
                let guest = chain.load(&mut *store, &instance)?;
                let (asset, destination) = (&request.asset, &request.destination_address);
                guest.call_validate(store, &network, asset, &amount, destination).await
            })
            .await
            .map_err(|aborted| ValidateError::Unavailable(aborted.reason))?;
        answer.map_err(|reason| ValidateError::Rejected(cut(&reason)))
    }

    fn call_facts(&self, event: &OutboxEvent, work: Work, services: &Services) -> Arc<CallFacts> {
        Arc::new(CallFacts::new(
            Arc::clone(&self.facts),
            Some((work, services.clone())),
            event.idempotency_key.to_string(),
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
        let _place = engine.place().await;
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
            Ok(Ok(Err(error))) => trap_reason(facts, &store, &error),
            Ok(Err(_)) => Ok(format!("time limit {}ms reached", timeout.as_millis())),
            Err(_) => Ok("the host panicked during the call".to_owned()),
        };
        log_printed(facts, &store);
        Err(match reason {
            Ok(reason) => Aborted {
                reason: with_notes(facts, reason),
                outcome_unknown: facts.sent.load(Ordering::Relaxed),
                not_begun: false,
            },
            Err(reason) => Aborted { reason, outcome_unknown: false, not_begun: true },
        })
    }

    /// Takes a receipt, after checking it against the grants. What does not fit is `unknown`: the
    /// handler says that it acted, so it may have.
    fn receive(&self, event: &OutboxEvent, receipt: GuestReceipt) -> Outcome {
        match self.check_receipt(event, receipt) {
            Ok(receipt) => Outcome::Done(receipt),
            Err(reason) => Outcome::Unknown { reason: cut(&reason) },
        }
    }

    fn check_receipt(&self, event: &OutboxEvent, receipt: GuestReceipt) -> Result<Receipt, String> {
        let manifest = &self.facts.manifest;
        if let Some(detail) = &receipt.detail {
            check_json("the receipt's detail", detail, DETAIL_BYTES_MAX)?;
        }
        let standing = receipt.transition.map(|transition| match transition {
            Transition::Broadcasted => (TransitionGrant::Broadcasted, Standing::Broadcasted),
            Transition::Failed(reason) => {
                (TransitionGrant::Failed, Standing::Failed { reason: cut(&reason) })
            }
        });
        if let Some((needed, _)) = &standing
            && !manifest.grants.transitions.contains(needed)
        {
            return Err(format!(
                "the receipt asks for the transition {needed:?}, which grants.transitions of {} \
                 does not allow",
                manifest.name
            ));
        }
        if receipt.follow_ups.len() > manifest.limits.follow_ups {
            return Err(format!("limit of {} follow-ups reached", manifest.limits.follow_ups));
        }
        let mut follow_ups = Vec::with_capacity(receipt.follow_ups.len());
        for follow_up in receipt.follow_ups {
            let granted =
                manifest.grants.follow_ups.iter().find(|t| t.as_str() == follow_up.event_type);
            let Some(event_type) = granted else {
                let event_type: String = follow_up.event_type.chars().take(64).collect();
                return Err(format!(
                    "the follow-up {event_type:?} is not granted: to allow it, put it into \
                     grants.follow_ups of {}",
                    manifest.name
                ));
            };
            check_json("a follow-up's payload", &follow_up.payload, manifest.limits.payload)?;
            follow_ups.push(NewEvent {
                traceparent: event.traceparent.clone(),
                ..NewEvent::due_now(
                    Aggregate::clone(&event.aggregate),
                    event_type.clone(),
                    follow_up.payload,
                )
            });
        }
        let standing = standing.map(|(_, standing)| standing);
        Ok(Receipt { detail: receipt.detail, standing, follow_ups })
    }
}

fn guest_event(event: &OutboxEvent) -> Event {
    Event {
        id: event.id.to_string(),
        aggregate_type: event.aggregate.kind().to_owned(),
        aggregate_id: event.aggregate.id().to_owned(),
        event_type: event.event_type.to_string(),
        payload: event.payload.clone(),
        idempotency_key: event.idempotency_key.to_string(),
        attempt: event.attempt_count.saturating_add(1),
        created_at_ms: u64::try_from(event.created_at.timestamp_millis()).unwrap_or(0),
        traceparent: event.traceparent.clone(),
    }
}

/// A handler's own word for its failure, with what the host noticed meanwhile.
fn explain(facts: &CallFacts, failure: Failure) -> Outcome {
    match failure {
        Failure::Retry(retry) => Outcome::Retry {
            reason: with_notes(facts, cut(&retry.reason)),
            after: retry.after_ms.map(Duration::from_millis),
        },
        Failure::Unknown(reason) => Outcome::Unknown { reason: with_notes(facts, cut(&reason)) },
        Failure::Defer(after_ms) => Outcome::Defer { after: Duration::from_millis(after_ms) },
        Failure::Reject(reason) => Outcome::Reject { reason: with_notes(facts, cut(&reason)) },
    }
}

/// Why the call ended without an answer; `Err` if it never began.
fn trap_reason(
    facts: &CallFacts,
    store: &Store<CallState>,
    error: &wasmtime::Error,
) -> Result<String, String> {
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
    let _ = facts;
    // What a panicking guest printed last says more than the trap.
    Ok(if printed.is_empty() { trap } else { cut(&format!("{trap}; it printed: {printed}")) })
}

fn log_printed(facts: &CallFacts, store: &Store<CallState>) {
    for line in store.data().printed.text().lines() {
        facts.log(Level::Info, line);
    }
}

fn with_notes(facts: &CallFacts, reason: String) -> String {
    let notes = facts.notes();
    let missing: Vec<_> = notes.iter().filter(|note| !reason.contains(note.as_str())).collect();
    if missing.is_empty() {
        return reason;
    }
    let notes: Vec<_> = missing.into_iter().map(String::as_str).collect();
    cut(&format!("{reason} [{}]", notes.join("; ")))
}

fn check_json(what: &str, text: &str, bytes_max: usize) -> Result<(), String> {
    if text.len() > bytes_max {
        return Err(format!("{what} has {} bytes; the limit is {bytes_max}", text.len()));
    }
    // The parser's own bound on nesting is 128 levels.
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{what} is not JSON: {error}")),
    }
}

fn cut(text: &str) -> String {
    super::functions::log::printable(text, REASON_BYTES_MAX)
}
