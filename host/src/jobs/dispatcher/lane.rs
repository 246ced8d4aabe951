//! A lane: claims the events of one type as fast as its plugins take them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use super::attempt::Attempt;
use super::breakers::Admission;
use super::gate::Places;
use super::gather::Patience;
use super::limits::TypeLimits;
use super::outrun::Outrun;
use super::{JOB, Shared};
use crate::domain::{Decision, EventState, EventType, OutboxEvent};
use crate::jobs::cycle;
use crate::plugin::{Release, Routes, Slot};
use crate::store::{AttemptRecord, Claim, LeaseRef, LimitedClaim, Settlement, StoreError};

/// The pause after events had to be given back.
const GIVEN_BACK_PAUSE: Duration = Duration::from_millis(50);

/// The shortest pause of a lane whose rate leaves no room: more often is no use to anybody.
const LIMITED_PAUSE_MIN: Duration = Duration::from_millis(1);

/// How long a lane waits whose plugin has all in hand that its breaker lets it.
const SHARE_PAUSE: Duration = Duration::from_millis(20);

/// Takes events of one type and starts their attempts. One claim at a time: a second one beside it
/// would walk past the rows that the first is just taking, and cost the database more than it brings.
pub(super) struct Lane {
    pub(super) shared: Arc<Shared>,
    pub(super) event_type: EventType,
    settlements: mpsc::Sender<Settlement>,
    attempts: TaskTracker,
    patience: Patience,
}

/// The right to one more attempt: of the plugin, and of the host.
pub(super) struct Place {
    _plugin: Slot,
    _host: Places,
}

/// What became of a claimed event.
enum Began {
    /// Its attempt, or its wait.
    Yes,
    /// It must be given back.
    NoPlace,
    /// No plugin of its type selects it.
    NoRoute,
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
    /// No plugin handles the type now.
    NoRoute,
}

impl Lane {
    pub(super) fn new(
        shared: Arc<Shared>,
        event_type: EventType,
        settlements: mpsc::Sender<Settlement>,
    ) -> Self {
        let (attempts, patience) = (TaskTracker::new(), Patience::default());
        Self { shared, event_type, settlements, attempts, patience }
    }

    /// Runs until the stop, also while the type has no route: one may come back any time. Ends when
    /// its attempts have ended.
    pub(super) async fn run(self) -> EventType {
        let shared = &self.shared;
        let poll = shared.job.config.poll;
        let mut wakeups = shared.job.store.wakeups();
        let mut settled = shared.settled.subscribe();
        let mut changes = shared.job.registry.changes();
        let (mut rates, mut selects) = (None, None);
        let (mut failures, mut outrun) = (0, Outrun::default());
        loop {
            // Seen before the claim, so that a hint that comes during it is not lost.
            wakeups.borrow_and_update();
            settled.borrow_and_update();
            changes.borrow_and_update();
            self.follow_rates(&mut rates).await;
            self.follow_selects(&mut selects).await;
            let Some(pass) = self.pass(&mut changes).await else { break };
            if matches!(pass, Ok(Pass::Full | Pass::Some)) {
                outrun.forget();
            }
            let pause = match pass {
                Ok(Pass::Full) => {
                    failures = 0;
                    continue;
                }
                Ok(Pass::NoRoute) => {
                    tokio::select! {
                        () = shared.stop.cancelled() => {}
                        _ = changes.changed() => {}
                    }
                    continue;
                }
                Ok(Pass::Some | Pass::Empty) => {
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
                    outrun.wait().await;
                }
                _ = settled.changed(), if self.waits_for_settled() => {}
                // Another manifest may allow what the last one did not.
                _ = changes.changed() => {}
                () = tokio::time::sleep(pause) => outrun.forget(),
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

    /// Waits for places and claims once. None after the stop: then nothing is claimed.
    async fn pass(&self, changes: &mut watch::Receiver<u64>) -> Option<Result<Pass, StoreError>> {
        let places = self.shared.stop.run_until_cancelled(self.wait_for_places(changes)).await?;
        if self.shared.stop.is_cancelled() {
            return None;
        }
        // Not within the line above: a claim on its way must not be dropped.
        let Some((routes, release, mut places)) = places else { return Some(Ok(Pass::NoRoute)) };
        match self.shared.breakers.admit(release.manifest()).await {
            Admission::All => {}
            Admission::UpTo(most) => {
                let all = release.manifest().limits.concurrency;
                let free = release.slots().available() + places.len();
                places.truncate(most.saturating_sub(all.saturating_sub(free)));
                if places.is_empty() {
                    return Some(Ok(Pass::Limited(SHARE_PAUSE)));
                }
            }
            Admission::Wait(wait) => return Some(Ok(Pass::Limited(wait))),
        }
        Some(self.claim(&routes, &release, places).await)
    }

    /// Waits for places of the plugin that has most of them free, and then for as many on this host,
    /// or for fewer. Whatever was swapped meanwhile, the routes that it answers are those of now.
    async fn wait_for_places(
        &self,
        changes: &mut watch::Receiver<u64>,
    ) -> Option<(Arc<Routes>, Arc<Release>, Vec<Place>)> {
        let registry = &self.shared.job.registry;
        loop {
            let release = {
                let routes = registry.current();
                let of_type = routes.of_type(&self.event_type);
                Arc::clone(of_type.max_by_key(|release| release.slots().available())?)
            };
            let (slots, limits) = (Arc::clone(release.slots()), release.manifest().limits.clone());
            // A release that is replaced meanwhile is not held back by who only waits.
            drop(release);
            let first = tokio::select! {
                first = slots.acquire() => first?,
                _ = changes.changed() => continue,
            };
            let most = (self.shared.job.config.batch as usize).min(limits.concurrency);
            let taken = self.patience.gather(&slots, first, most).await;
            let count = u32::try_from(taken.len()).unwrap_or(u32::MAX);
            let mut places = self.shared.gate.enter(&self.event_type, limits.priority, count).await;
            let routes = registry.current();
            let same = |release: &&Arc<Release>| Arc::ptr_eq(release.slots(), &slots);
            let Some(release) = routes.of_type(&self.event_type).find(same).cloned() else {
                continue;
            };
            let places = taken.into_iter().map_while(|plugin| {
                places.split().map(|host| Place { _plugin: plugin, _host: host })
            });
            let places = places.collect();
            return Some((routes, release, places));
        }
    }

    async fn claim(
        &self,
        routes: &Arc<Routes>,
        release: &Arc<Release>,
        mut places: Vec<Place>,
    ) -> Result<Pass, StoreError> {
        let job = &self.shared.job;
        let manifest = release.manifest();
        let limit = u32::try_from(places.len()).unwrap_or(u32::MAX);
        let claim = Claim {
            host: &job.host,
            event_type: &self.event_type,
            limit,
            lease_for: job.config.lease,
            ordered_among: if manifest.ordered { &manifest.handles } else { &[] },
        };
        let began = Instant::now();
        let LimitedClaim { events, put_aside, more, next_in } =
            match TypeLimits::of(routes, &self.event_type) {
                Some(limits) => job.limits.claim_limited(claim, limits).await?,
                None => {
                    LimitedClaim { events: job.store.claim(claim).await?, ..Default::default() }
                }
            };
        self.patience.note(began.elapsed());
        job.metrics.claimed(&self.event_type, events.len());
        job.metrics.rate_limited(&self.event_type, put_aside);
        let full = more || events.len() >= limit as usize;
        let is_empty = events.is_empty();
        // What has room and was not taken, because it is held, does not go at once.
        let next_in = next_in.filter(|wait| !wait.is_zero() || !events.is_empty());
        // Those of now: what was swapped during the claim holds for its events, too.
        let now = job.registry.current();
        let fits = Arc::ptr_eq(&now, routes) || self.orders_alike(routes, &now);
        let (mut given_back, mut aside) = (Vec::new(), Vec::new());
        for event in events {
            let EventState::Processing(lease) = &event.state else { continue };
            let lease = LeaseRef { event: event.id, token: lease.token };
            let began = if fits {
                self.begin(event, lease, (&now, release), &mut places).await
            } else {
                Began::NoPlace
            };
            match began {
                Began::Yes => {}
                Began::NoPlace => given_back.push(lease),
                Began::NoRoute => aside.push(lease),
            }
        }
        if !aside.is_empty() {
            job.unrouted.put_aside(&aside).await?;
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

    /// Starts the attempt at a claimed event, or puts it off.
    async fn begin(
        &self,
        event: OutboxEvent,
        lease: LeaseRef,
        (routes, claimed_for): (&Routes, &Arc<Release>),
        places: &mut Vec<Place>,
    ) -> Began {
        let Some(chosen) = routes.route(&event.event_type, &event.payload) else {
            // Without any route at all it waits where it is: then nothing claims it.
            let others = routes.of_type(&self.event_type).next().is_some();
            return if others { Began::NoRoute } else { Began::NoPlace };
        };
        if let Some(wait) = self.shut(chosen, claimed_for) {
            let reason = format!("a breaker of {} is open", chosen.manifest().name);
            self.postpone(event, lease, chosen, wait, reason).await;
            return Began::Yes;
        }
        let Some(place) = Self::place(chosen, claimed_for, places) else { return Began::NoPlace };
        let chosen = self.shared.job.registry.canaries().current().choose(chosen, &event);
        self.start(event, lease, chosen, place);
        Began::Yes
    }

    /// Whether both sets of routes keep the same order among the events of this type.
    fn orders_alike(&self, one: &Routes, other: &Routes) -> bool {
        let orders = |routes: &Routes| -> Vec<Vec<EventType>> {
            let of_type = routes.of_type(&self.event_type).map(|release| release.manifest());
            of_type.filter(|manifest| manifest.ordered).map(|m| m.handles.clone()).collect()
        };
        orders(one) == orders(other)
    }

    /// A place for the chosen release: one of those that the claim was made for, where it fits.
    fn place(
        chosen: &Arc<Release>,
        claimed_for: &Arc<Release>,
        places: &mut Vec<Place>,
    ) -> Option<Place> {
        let place = places.pop()?;
        // Releases of one plugin share its places.
        if Arc::ptr_eq(chosen.slots(), claimed_for.slots()) {
            return Some(place);
        }
        let plugin = chosen.slots().try_acquire()?;
        Some(Place { _plugin: plugin, ..place })
    }

    /// Whether a plugin that shares the type with the one that was admitted must wait.
    fn shut(&self, chosen: &Arc<Release>, admitted: &Arc<Release>) -> Option<Duration> {
        // Releases of one plugin have one breaker.
        if Arc::ptr_eq(chosen.slots(), admitted.slots()) {
            return None;
        }
        self.shared.breakers.shut(chosen.manifest())
    }

    /// Puts an event off that no plugin of its type takes now: given back at once, enough of them
    /// would be all that this lane ever claims.
    async fn postpone(
        &self,
        event: OutboxEvent,
        lease: LeaseRef,
        release: &Release,
        after: Duration,
        reason: String,
    ) {
        let settlement = Settlement {
            lease,
            aggregate: event.aggregate,
            event_type: event.event_type,
            decision: Decision::Postpone { after, reason, outcome_unknown: event.outcome_unknown },
            attempt: AttemptRecord {
                number: event.attempt_count.saturating_add(1),
                plugin: release.manifest().name.clone(),
                release_digest: String::new(),
                started_at: std::time::SystemTime::now().into(),
                duration: Duration::ZERO,
                on_canary: false,
            },
        };
        // Fails only if the settler panicked: the lease runs out and the event is taken over.
        let _ = self.settlements.send(settlement).await;
    }

    fn start(
        &self,
        event: OutboxEvent,
        lease: LeaseRef,
        (release, on_canary): (Arc<Release>, bool),
        place: Place,
    ) {
        let lost = self.shared.in_hand.add(lease);
        let attempt = Attempt {
            shared: Arc::clone(&self.shared),
            event,
            lease,
            release,
            on_canary,
            lost,
            settlements: self.settlements.clone(),
        };
        self.attempts.spawn(attempt.run(place));
    }
}
