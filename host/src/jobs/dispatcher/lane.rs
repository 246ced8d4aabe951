//! A lane: claims the events of one type as fast as its plugins take them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::task::TaskTracker;

use super::attempt::Attempt;
use super::gate::Places;
use super::limits::TypeLimits;
use super::{JOB, Shared};
use crate::domain::{Decision, EventState, EventType, OutboxEvent};
use crate::jobs::cycle;
use crate::plugin::Release;
use crate::store::{
    AttemptRecord, CLAIM_MAX, Claim, LeaseRef, LimitedClaim, Settlement, StoreError,
};

/// How long a lane waits for more free slots before it claims with those it has. Claims of half a
/// batch cost the database a third less for each event than claims of a fifth.
const GATHER: Duration = Duration::from_millis(5);
/// The pause after events had to be given back.
const GIVEN_BACK_PAUSE: Duration = Duration::from_millis(50);

/// The shortest pause of a lane whose rate leaves no room: more often is no use to anybody.
const LIMITED_PAUSE_MIN: Duration = Duration::from_millis(1);

/// So many wake-ups in a row may bring nothing before this lane answers the next ones later.
const OUTRUN_MIN: u32 = 3;
/// How much later, at most. Then hints that come meanwhile are answered together.
const OUTRUN_PAUSE_MAX: Duration = Duration::from_millis(4);

/// How long an event waits that no plugin selects. A plugin that does may come any time.
const UNSELECTED_PAUSE: Duration = Duration::from_secs(60);

/// Takes events of one type and starts their attempts. One claim at a time: a second one beside it
/// would walk past the rows that the first is just taking, and cost the database more than it brings.
pub(super) struct Lane {
    shared: Arc<Shared>,
    event_type: EventType,
    settlements: mpsc::Sender<Settlement>,
    attempts: TaskTracker,
}

/// The right to one more attempt: of the plugin, and of the host.
pub(super) struct Slot {
    _plugin: OwnedSemaphorePermit,
    _host: Places,
}

/// What a pass of the lane came to.
enum Pass {
    /// As many events as asked for: there may be more.
    Full,
    /// Fewer than asked for: nothing more is due now.
    Some,
    /// Nothing at all was due.
    Empty,
    /// Nothing more may go now; in so long something that waits for its rate may.
    Limited(Duration),
    /// Some found no place and were given back.
    GivenBack,
    /// No plugin handles the type any more.
    NoRoute,
}

impl Lane {
    pub(super) fn new(
        shared: Arc<Shared>,
        event_type: EventType,
        settlements: mpsc::Sender<Settlement>,
    ) -> Self {
        let attempts = TaskTracker::new();
        Self { shared, event_type, settlements, attempts }
    }

    /// Runs until the stop, or until the type has no route. Ends when its attempts have ended.
    pub(super) async fn run(self) -> EventType {
        let shared = &self.shared;
        let poll = shared.job.config.poll;
        let mut wakeups = shared.job.store.wakeups();
        let mut settled = shared.settled.subscribe();
        let (mut failures, mut outrun) = (0, 0);
        self.end_rate_waits().await;
        loop {
            // Seen before the claim, so that a hint that comes during it is not lost.
            wakeups.borrow_and_update();
            settled.borrow_and_update();
            let Some(pass) = self.pass().await else { break };
            let pause = match pass {
                Ok(Pass::Full) => {
                    (failures, outrun) = (0, 0);
                    continue;
                }
                Ok(Pass::NoRoute) => break,
                Ok(Pass::Some) => {
                    (failures, outrun) = (0, 0);
                    poll
                }
                Ok(Pass::Empty) => {
                    failures = 0;
                    poll
                }
                Ok(Pass::Limited(wait)) => {
                    failures = 0;
                    wait.min(poll)
                }
                Ok(Pass::GivenBack) => {
                    tokio::time::sleep(GIVEN_BACK_PAUSE).await;
                    continue;
                }
                Err(error) => {
                    failures += 1;
                    let pause = cycle::backoff(poll, failures);
                    tracing::warn!(job = JOB, event_type = %self.event_type, %error, "a claim failed; the next one in {} ms", pause.as_millis());
                    tokio::select! {
                        () = shared.stop.cancelled() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                    continue;
                }
            };
            tokio::select! {
                () = shared.stop.cancelled() => {}
                _ = wakeups.changed() => {
                    shared.job.metrics.woken();
                    outrun += 1;
                    tokio::time::sleep(outrun_pause(outrun)).await;
                }
                _ = settled.changed(), if self.waits_for_settled() => {}
                () = tokio::time::sleep(pause) => outrun = 0,
            }
        }
        self.attempts.close();
        self.attempts.wait().await;
        self.event_type
    }

    /// Whether what is settled may let another event go: the next of an aggregate, or one more of
    /// a fleet that has its fill in hand.
    fn waits_for_settled(&self) -> bool {
        let routes = self.shared.job.registry.current();
        routes.of_type(&self.event_type).any(|release| {
            let manifest = release.manifest();
            manifest.ordered || manifest.limits.fleet_concurrency.is_some()
        })
    }

    /// Lets go what waits for a rate that the manifest no longer has. What is missed comes by
    /// itself, within the hour.
    async fn end_rate_waits(&self) {
        let job = &self.shared.job;
        let routes = job.registry.current();
        while !self.shared.stop.is_cancelled() && !TypeLimits::have_rate(&routes, &self.event_type)
        {
            match job.limits.end_rate_waits(&self.event_type, CLAIM_MAX).await {
                Ok(ended) if ended >= u64::from(CLAIM_MAX) => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(job = JOB, event_type = %self.event_type, %error, "what waits for a rate was not let go");
                    return;
                }
            }
        }
    }

    /// Waits for slots and claims once. None after the stop: then nothing is claimed.
    async fn pass(&self) -> Option<Result<Pass, StoreError>> {
        let slots = self.shared.stop.run_until_cancelled(self.wait_for_slots()).await?;
        if self.shared.stop.is_cancelled() {
            return None;
        }
        // Not within the line above: a claim on its way must not be dropped.
        Some(match slots {
            Some((release, slots)) => self.claim(&release, slots).await,
            None => Ok(Pass::NoRoute),
        })
    }

    /// Waits for a slot of the plugin that has most of them free, and takes what else is free. Half
    /// of a batch is worth a short wait: claims of one event each would be slow. Then waits for as
    /// many places on this host, or for fewer.
    async fn wait_for_slots(&self) -> Option<(Arc<Release>, Vec<Slot>)> {
        let routes = self.shared.job.registry.current();
        let release = routes
            .of_type(&self.event_type)
            .max_by_key(|release| release.slots().available_permits())?;
        let slots = release.slots();
        let limits = &release.manifest().limits;
        let first = Arc::clone(slots).acquire_owned().await.ok()?;
        let most = (self.shared.job.config.batch as usize).min(limits.concurrency);
        let wanted = u32::try_from(most / 2).unwrap_or(1);
        let mut taken = vec![first];
        if wanted > 1 {
            let more = Arc::clone(slots).acquire_many_owned(wanted - 1);
            if let Ok(Ok(mut more)) = tokio::time::timeout(GATHER, more).await {
                while let Some(one) = more.split(1) {
                    taken.push(one);
                }
            }
        }
        while taken.len() < most {
            match Arc::clone(slots).try_acquire_owned() {
                Ok(one) => taken.push(one),
                Err(_) => break,
            }
        }
        let count = u32::try_from(taken.len()).unwrap_or(u32::MAX);
        let mut places = self.shared.gate.enter(&self.event_type, limits.priority, count).await;
        let slots = taken
            .into_iter()
            .map_while(|plugin| places.split().map(|host| Slot { _plugin: plugin, _host: host }));
        Some((Arc::clone(release), slots.collect()))
    }

    async fn claim(
        &self,
        release: &Arc<Release>,
        mut slots: Vec<Slot>,
    ) -> Result<Pass, StoreError> {
        let job = &self.shared.job;
        let manifest = release.manifest();
        let limit = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        let claim = Claim {
            host: &job.host,
            event_type: &self.event_type,
            limit,
            lease_for: job.config.lease,
            ordered_among: if manifest.ordered { &manifest.handles } else { &[] },
        };
        let routes = job.registry.current();
        let LimitedClaim { events, put_aside, more, next_in } =
            match TypeLimits::of(&routes, &self.event_type) {
                Some(limits) => job.limits.claim_limited(claim, limits).await?,
                None => {
                    LimitedClaim { events: job.store.claim(claim).await?, ..Default::default() }
                }
            };
        job.metrics.claimed(&self.event_type, events.len());
        job.metrics.rate_limited(&self.event_type, put_aside);
        let full = more || events.len() >= limit as usize;
        let is_empty = events.is_empty();
        // What has room and was not taken, because it is held, does not go at once.
        let next_in = next_in.filter(|wait| !wait.is_zero() || !events.is_empty());
        let mut given_back = Vec::new();
        for event in events {
            let EventState::Processing(lease) = &event.state else { continue };
            let lease = LeaseRef { event: event.id, token: lease.token };
            match routes.route(&event.event_type, &event.payload) {
                None => self.postpone(event, lease, release).await,
                Some(chosen) => match Self::slot(chosen, release, &mut slots) {
                    Some(slot) => self.start(event, lease, Arc::clone(chosen), slot),
                    None => given_back.push(lease),
                },
            }
        }
        if !given_back.is_empty() {
            self.shared.job.store.release(&given_back).await?;
            return Ok(Pass::GivenBack);
        }
        Ok(match next_in {
            _ if full => Pass::Full,
            Some(wait) => Pass::Limited(wait.max(LIMITED_PAUSE_MIN)),
            None if is_empty => Pass::Empty,
            None => Pass::Some,
        })
    }

    /// A slot of the chosen release: one of those that the claim was made for, where it fits.
    fn slot(
        chosen: &Arc<Release>,
        claimed_for: &Arc<Release>,
        slots: &mut Vec<Slot>,
    ) -> Option<Slot> {
        let slot = slots.pop()?;
        if Arc::ptr_eq(chosen, claimed_for) {
            return Some(slot);
        }
        let plugin = Semaphore::try_acquire_owned(Arc::clone(chosen.slots())).ok()?;
        Some(Slot { _plugin: plugin, ..slot })
    }

    /// Puts an event off that no plugin of its type selects: given back at once, enough of them
    /// would be all that this lane ever claims.
    async fn postpone(&self, event: OutboxEvent, lease: LeaseRef, claimed_for: &Release) {
        let reason = format!("no plugin for {} selects its payload", event.event_type);
        let settlement = Settlement {
            lease,
            aggregate: event.aggregate,
            event_type: event.event_type,
            decision: Decision::Postpone {
                after: UNSELECTED_PAUSE,
                reason,
                outcome_unknown: event.outcome_unknown,
            },
            attempt: AttemptRecord {
                number: event.attempt_count.saturating_add(1),
                plugin: claimed_for.manifest().name.clone(),
                release_digest: String::new(),
                started_at: std::time::SystemTime::now().into(),
                duration: Duration::ZERO,
            },
        };
        // Fails only if the settler panicked: the lease runs out and the event is taken over.
        let _ = self.settlements.send(settlement).await;
    }

    fn start(&self, event: OutboxEvent, lease: LeaseRef, release: Arc<Release>, slot: Slot) {
        let lost = self.shared.in_hand.add(lease);
        let attempt = Attempt {
            shared: Arc::clone(&self.shared),
            event,
            lease,
            release,
            lost,
            settlements: self.settlements.clone(),
        };
        self.attempts.spawn(attempt.run(slot));
    }
}

/// How long a lane waits after a wake-up before it claims, once so many in a row brought it nothing.
/// All lanes of all hosts hear of each event and one of them gets it: the claims of the others find
/// nothing, and would cost the database more than the work itself.
fn outrun_pause(times: u32) -> Duration {
    match times.checked_sub(OUTRUN_MIN) {
        None | Some(0) => Duration::ZERO,
        Some(more) => Duration::from_millis(1 << more.min(8)).min(OUTRUN_PAUSE_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_outrun_again_and_again_answers_later_and_never_much_later() {
        let pauses = [0, 1, 2, 3, 4, 5, 6, 7, u32::MAX].map(|n| outrun_pause(n).as_millis());
        assert_eq!(pauses, [0, 0, 0, 0, 2, 4, 4, 4, 4]);
    }
}
