//! One attempt at one event, from the claim to the settler's queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::lane::Place;
use super::{JOB, Shared, target_gate};
use crate::domain::{OutboxEvent, Outcome, SkipReason, Timestamp, decide, decide_on_canary};
use crate::plugin::{Copied, Release, ShadowCopy, TargetReports};
use crate::store::{AttemptRecord, LeaseRef, Settlement, counters};

pub(super) struct Attempt {
    pub(super) shared: Arc<Shared>,
    pub(super) event: OutboxEvent,
    pub(super) lease: LeaseRef,
    pub(super) release: Arc<Release>,
    /// Whether the release is one that is being tried.
    pub(super) on_canary: bool,
    /// Cancelled if the lease is lost.
    pub(super) lost: CancellationToken,
    pub(super) settlements: mpsc::Sender<Settlement>,
}

impl Attempt {
    pub(super) async fn run(self, place: Place) {
        let started_at = Timestamp::from(std::time::SystemTime::now());
        let clock = Instant::now();
        let job = &self.shared.job;
        let gate = target_gate::of(&self.shared.breakers, &self.release);
        let targets = TargetReports::behind(gate);
        // Boxed, for it is large: what is spawned is moved several times.
        let (engine, services) = (&job.engine, &job.services);
        let copy = self.copy_for_shadow();
        let told = (&targets, copy.as_ref().map(ShadowCopy::recorder));
        let attempt = Box::pin(self.release.attempt_reporting(engine, &self.event, services, told));
        let outcome = tokio::select! {
            outcome = attempt => Some(outcome),
            () = self.shared.interrupt.cancelled() => Some(Outcome::Interrupted {
                reason: "the host was shut down".into(),
                after: Duration::ZERO,
                // It may have been in the middle of a request.
                outcome_unknown: true,
            }),
            () = self.release.drained() => Some(Outcome::Interrupted {
                reason: "its release was replaced, and the drain limit is over".into(),
                after: Duration::ZERO,
                outcome_unknown: true,
            }),
            () = self.lost.cancelled() => None,
        };
        drop(place);
        let Some(outcome) = outcome else {
            tracing::warn!(job = JOB, event.id = %self.event.id, "stopped an attempt: its lease was lost");
            self.shared.in_hand.remove(self.lease);
            if let Some(copy) = copy {
                job.metrics.copied(&self.release.manifest().name, copy.skip(SkipReason::CutOff));
            }
            return;
        };
        let copy = copy.map(|copy| (copy, outcome.clone()));
        let duration = clock.elapsed();
        let outcome =
            self.shared.breakers.learn(self.release.manifest(), targets.take(), outcome).await;
        let settlement = self.settlement(outcome, started_at, duration);
        if self.settlements.send(settlement).await.is_err() {
            // Only if the settler panicked: the lease runs out and the event is taken over.
            self.shared.in_hand.remove(self.lease);
        }
        if let Some((copy, outcome)) = copy {
            // In nobody's way: the attempt is settled, and its place is another's.
            let stop = self.shared.stop.cancelled();
            let copied = copy.compare(engine, &self.event, services, &outcome, stop).await;
            job.metrics.copied(&self.release.manifest().name, copied);
        }
    }

    /// Begins a copy, if the plugin has a shadow that gets one of this attempt.
    fn copy_for_shadow(&self) -> Option<ShadowCopy> {
        let job = &self.shared.job;
        let plugin = &self.release.manifest().name;
        let shadow = job.registry.shadows().of_plugin(plugin)?;
        match shadow.copy(&self.release, &self.event)? {
            Ok(copy) => Some(copy),
            Err(_busy) => {
                job.metrics.copied(plugin, Copied::Skipped);
                None
            }
        }
    }

    fn settlement(
        &self,
        outcome: Outcome,
        started_at: Timestamp,
        duration: Duration,
    ) -> Settlement {
        let manifest = self.release.manifest();
        let roll = fastrand::u32(..);
        let counters = counters(&self.event);
        let decision = if self.on_canary {
            decide_on_canary(outcome, counters, &manifest.retry)
        } else {
            decide(outcome, counters, &manifest.retry, roll)
        };
        Settlement {
            lease: self.lease,
            aggregate: self.event.aggregate.clone(),
            event_type: self.event.event_type.clone(),
            decision,
            attempt: AttemptRecord {
                number: self.event.attempt_count.saturating_add(1),
                plugin: manifest.name.clone(),
                release_digest: self.release.digest().to_owned(),
                started_at,
                duration,
                on_canary: self.on_canary,
            },
        }
    }
}
