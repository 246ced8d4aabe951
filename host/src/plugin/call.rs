//! The sandboxed call: a fresh instance, one export, and from whatever happens an `Outcome`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use wasmtime::{PoolConcurrencyLimitError, Store};

use super::aborted::{Aborted, STORE_AWAY_WAIT, log_printed, stop_reason, with_notes};
use super::bindings::exported::handler::{Event, Failure, Receipt as GuestReceipt};
use super::bindings::imported::types::Finding;
use super::breaches::HANDLES_MAX;
use super::engine::SandboxEngine;
use super::limits::size;
use super::own_time::within;
use super::receipt;
use super::release::{Release, ReleaseError};
use super::services::{SecretSource, Work};
use super::shadow::{Recorder, Replay};
use super::state::{CallFacts, CallState, Services};
use super::targets::TargetReports;
use super::way::Way;
use crate::domain::{EventState, OutboxEvent, Outcome, WithdrawalRequest};

/// A judgement only computes, and somebody waits for it: the longest wait, for a place included.
const VALIDATE_WITHIN: Duration = Duration::from_secs(5);

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
        self.attempt_reporting(engine, event, services, (&Arc::default(), None)).await
    }

    /// The same, telling what it showed of its targets, and recorded for its shadow, if there is one.
    pub async fn attempt_reporting(
        &self,
        engine: &SandboxEngine,
        event: &OutboxEvent,
        services: &Services,
        (targets, recorder): (&Arc<TargetReports>, Option<&Arc<Recorder>>),
    ) -> Outcome {
        let Some(work) = work_on(event) else { return not_held() };
        let recorded = match recorder {
            Some(recorder) => {
                recorder.begin(services, &work).await;
                Some(recorder.services(services))
            }
            None => None,
        };
        let services = recorded.as_ref().unwrap_or(services);
        let connections = Arc::clone(&self.connections);
        let way = Way::Out { connections, recorder: recorder.cloned() };
        self.attempt_within(engine, event, Reach { work, services, way, targets }).await
    }

    /// The same attempt once more, as a shadow: it reaches nothing but a recording, and the secrets
    /// that its manifest grants.
    pub(super) async fn attempt_as_shadow(
        &self,
        engine: &SandboxEngine,
        event: &OutboxEvent,
        replay: &Arc<Replay>,
        secrets: Arc<dyn SecretSource>,
    ) -> Outcome {
        let Some(work) = work_on(event) else { return not_held() };
        let services = &replay.services(secrets);
        let way = Way::Nowhere(Arc::clone(replay));
        let reach = Reach { work, services, way, targets: &Arc::default() };
        self.attempt_within(engine, event, reach).await
    }

    async fn attempt_within(
        &self,
        engine: &SandboxEngine,
        event: &OutboxEvent,
        reach: Reach<'_>,
    ) -> Outcome {
        let _counted = self.call_begins();
        let limits = &self.facts.manifest.limits;
        if event.payload.len() > limits.payload {
            let (max, given) = (size(limits.payload as u64), event.payload.len());
            let reason = format!("payload limit {max} reached: {given} bytes given");
            return Outcome::Reject { reason };
        }
        if event.outcome_unknown && self.reconciles() {
            match self.reconcile(engine, event, &reach).await {
                Ok(Finding::Happened(receipt)) => return self.receive(event, receipt),
                Ok(Finding::DidNotHappen) => {}
                Err(outcome) => return outcome,
            }
        }
        match self.handle(engine, event, &reach).await {
            Ok(receipt) => self.receive(event, receipt),
            Err(outcome) => outcome,
        }
    }

    async fn handle(
        &self,
        engine: &SandboxEngine,
        event: &OutboxEvent,
        reach: &Reach<'_>,
    ) -> Result<GuestReceipt, Outcome> {
        let facts = self.call_facts(reach, event, event.idempotency_key.to_string());
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
        reach: &Reach<'_>,
    ) -> Result<Finding, Outcome> {
        let Some(reconciler) = &self.exports.reconciler else { return Ok(Finding::DidNotHappen) };
        // Keys of its own, new ones with each attempt: a target that answers a key as it did before
        // would answer with what was true then.
        let key = format!("{}-reconcile-{}", event.idempotency_key, attempt_number(event));
        let facts = self.call_facts(reach, event, key);
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
        let facts = self.facts_without_event();
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
        let facts = self.facts_without_event();
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
        reach: &Reach<'_>,
        event: &OutboxEvent,
        idempotency_key: String,
    ) -> Arc<CallFacts> {
        let facts = CallFacts::new(
            Arc::clone(&self.facts),
            reach.way.clone(),
            Some((reach.work, reach.services.clone())),
            idempotency_key,
            event.traceparent.clone(),
        );
        Arc::new(facts.reporting_to(reach.targets))
    }

    /// Of a call to which nothing is granted.
    fn facts_without_event(&self) -> Arc<CallFacts> {
        let way = Way::Out { connections: Arc::clone(&self.connections), recorder: None };
        Arc::new(CallFacts::new(Arc::clone(&self.facts), way, None, String::new(), None))
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
        let run = self.run(engine, facts, export);
        let run = engine.turns().take(&self.account, &facts.host_waits, run);
        // A panic in a host function must end this call, and not the host.
        AssertUnwindSafe(run)
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(Aborted::of(facts, "the host panicked during the call")))
    }

    /// The call itself. The instance goes when it returns.
    async fn run<T>(
        &self,
        engine: &SandboxEngine,
        facts: &Arc<CallFacts>,
        export: impl AsyncFnOnce(
            wasmtime::component::Instance,
            &mut Store<CallState>,
        ) -> wasmtime::Result<T>,
    ) -> Result<T, Aborted> {
        let limits = &facts.release.manifest.limits;
        let mut store = Store::new(engine.get(), CallState::new(Arc::clone(facts)));
        store.limiter(|state| &mut state.guard);
        // Gives the thread back at each tick, so that a guest that spins stops nobody, and the
        // time-out below is noticed.
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store.set_hostcall_fuel(limits.hand_over_bytes());
        store.set_max_component_handles(HANDLES_MAX);

        let run = async {
            let instance = self.instance.instantiate_async(&mut store).await?;
            export(instance, &mut store).await
        };
        let ended = match within(limits.timeout, &facts.host_waits, run).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) if error.is::<PoolConcurrencyLimitError>() => {
                Err(Aborted::not_begun())
            }
            Some(Err(error)) => Err(Aborted::of(facts, &stop_reason(&store, &error))),
            None => {
                let limit = limits.timeout.as_millis();
                Err(Aborted::of(facts, &format!("time limit {limit}ms reached")))
            }
        };
        log_printed(facts, &store);
        ended
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

/// What the calls of one attempt are about, and what they reach.
struct Reach<'a> {
    work: Work,
    services: &'a Services,
    way: Way,
    targets: &'a Arc<TargetReports>,
}

/// The right to work on an event, if this host holds it.
fn work_on(event: &OutboxEvent) -> Option<Work> {
    let EventState::Processing(lease) = &event.state else { return None };
    let (event, withdrawal) = (event.id, event.aggregate.as_withdrawal());
    Some(Work { event, token: lease.token, withdrawal })
}

fn not_held() -> Outcome {
    Outcome::Reject { reason: "the host does not hold this event".into() }
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
