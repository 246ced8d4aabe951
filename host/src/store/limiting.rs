//! Limits that hold over all hosts: how often a route is attempted, and how much of it is in hand.
//!
//! Who claims for such a route holds its lock for one short transaction, so the hosts decide one
//! after another, by the database's clock. Routes without such limits know nothing of this.
//!
//! An event that must wait for its rate is put aside: its place among those of its key is kept in
//! `rate_waiting`, and its `available_at` is moved into the future, so that no claim walks over it
//! again. When its key has room, it is taken from there. An attempt is charged when it is claimed
//! and never before, so a pause, an outage or another rate leaves no debt and saves nothing up. If
//! the place is lost (a table that was not restored, a route that is no longer limited), the event
//! comes back by itself when `available_at` is there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::unrouting::NOBODY;
use super::{Claim, StoreError};
use crate::domain::{EventId, EventType, Granted, OutboxEvent, Rate, Timestamp};

/// What the dispatcher and the retention job need for limits.
#[async_trait]
pub trait LimitStore: Send + Sync {
    /// As a claim, within limits that hold over all hosts. What the rates leave no room for is put
    /// aside, and neither counted nor tried. Of a key the longest due are first.
    async fn claim_limited(
        &self,
        request: Claim<'_>,
        limits: Arc<dyn RouteLimits>,
    ) -> Result<LimitedClaim, StoreError>;

    /// Which of these events wait for their rate, and by which key; or for a plugin.
    async fn rate_waits(&self, events: &[EventId]) -> Result<Vec<(EventId, Bucket)>, StoreError>;

    /// Lets up to `limit` events of a type go that wait for a rate which there is no more. Fewer
    /// than `limit` means that none is left.
    async fn end_rate_waits(&self, event_type: &EventType, limit: u32) -> Result<u64, StoreError>;

    /// Forgets up to `limit` keys that nothing waits for and that have been quiet for a day, and as
    /// many places of events that wait no more. Answers how many rows went.
    async fn delete_idle_rates(&self, limit: u32) -> Result<u64, StoreError>;
}

/// The limits of one event type, as the manifests have them.
pub trait RouteLimits: Send + Sync {
    /// The rate of this plugin. None: it has none, or there is no such plugin.
    fn rate(&self, plugin: &str) -> Option<Rate>;

    /// What an event with this payload is counted by; none if its rate is not limited.
    fn bucket(&self, payload: &str) -> Option<Bucket>;

    /// The plugins whose events in hand are limited.
    fn fleets(&self) -> &[FleetLimit];

    /// Every plugin that has a limit: each is a lock, so that two types of one are counted together.
    fn plugins(&self) -> Vec<String>;
}

/// What a rate counts: a plugin's events of one type and key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket {
    pub plugin: String,
    /// Empty where the rate has no key, or the payload lacks it.
    pub key: String,
}

impl Bucket {
    /// Whether it is no rate that is waited for, but a plugin: see [`super::UnroutedStore`].
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        self.plugin == NOBODY
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetLimit {
    /// Events in hand at most, on all hosts together.
    pub max: u32,
    /// The types that are counted.
    pub among: Vec<EventType>,
}

/// What a claim within limits came to.
#[derive(Debug, Default)]
pub struct LimitedClaim {
    pub events: Vec<OutboxEvent>,
    /// Events that were put aside now.
    pub put_aside: u32,
    /// There may be more that is due and was not looked at.
    pub more: bool,
    /// When the first key has room again that something waits for.
    pub next_in: Option<Duration>,
}

/// A pass looks at most at so many events that are due, and at least at so many.
pub(super) const LOOK_MAX: u32 = 500;
const LOOK_MIN: u32 = 50;

/// How long a lock may be waited for, and held by a host that stands still, in milliseconds: the
/// server then ends its session.
pub(super) const LOCK_MS: u32 = 5_000;

/// Keys that are quiet for so long are forgotten. See [`Rate::BURST_SPAN_MAX_MICROS`].
pub(super) const IDLE_MICROS: i64 = Rate::BURST_SPAN_MAX_MICROS;

/// What is put aside comes back by itself after twice the time that its key needs for those before
/// it, and a minute; within the hour in any case. Only what lost its place needs that.
const ASIDE_MIN_MICROS: i64 = 60_000_000;
const ASIDE_MAX_MICROS: i64 = 3_600_000_000;

/// An event that is due, as a pass looks at it.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) event: EventId,
    pub(super) due_at: Timestamp,
    /// None: its rate is not limited.
    pub(super) bucket: Option<Bucket>,
    /// Whether it was put aside before, and its bucket lets it go.
    pub(super) waited: bool,
}

/// What is kept of a bucket.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kept {
    /// None if nothing is kept of it.
    pub(super) next_at: Option<i64>,
    pub(super) waiting: i64,
}

/// An event that gets a place in the queue of its bucket.
#[derive(Debug)]
pub(super) struct Aside {
    pub(super) event: EventId,
    pub(super) bucket: Bucket,
    pub(super) due_at: Timestamp,
    /// When it comes back by itself.
    pub(super) until: i64,
}

/// One claim: what to take and what to put aside. Pure; the stores read and write.
pub(super) struct LimitedPass {
    limits: Arc<dyn RouteLimits>,
    now: i64,
    /// How many more may be taken.
    room: u32,
    buckets: HashMap<Bucket, Kept>,
    /// With the time since when each was due.
    pub(super) taken: Vec<(EventId, Timestamp)>,
    pub(super) aside: Vec<Aside>,
}

impl LimitedPass {
    pub(super) fn new(limits: Arc<dyn RouteLimits>, now: i64, room: u32) -> Self {
        let (buckets, taken, aside) = (HashMap::new(), Vec::new(), Vec::new());
        Self { limits, now, room, buckets, taken, aside }
    }

    pub(super) const fn now(&self) -> i64 {
        self.now
    }

    pub(super) const fn room(&self) -> u32 {
        self.room
    }

    /// How many due events to look at: more than there is room for, since some must be put aside.
    pub(super) fn look(&self) -> u32 {
        self.room.saturating_mul(2).clamp(LOOK_MIN, LOOK_MAX)
    }

    /// Keys that have room only after this were kept by another rate, or by a clock that was set
    /// back since.
    pub(super) fn next_at_max(&self) -> i64 {
        let rates = self.limits.plugins().into_iter().filter_map(|name| self.limits.rate(&name));
        let interval = rates.map(|rate| rate.interval_micros()).max().unwrap_or(0);
        self.now.saturating_add(interval)
    }

    pub(super) fn bucket(&self, payload: &str) -> Option<Bucket> {
        self.limits.bucket(payload)
    }

    /// Notes what is kept of a bucket.
    pub(super) fn know(&mut self, bucket: Bucket, kept: Kept) {
        self.buckets.entry(bucket).or_insert(kept);
    }

    /// The buckets of these candidates of which nothing is known yet, each once.
    pub(super) fn unknown(&self, candidates: &[Candidate]) -> Vec<Bucket> {
        let buckets = candidates.iter().filter_map(|candidate| candidate.bucket.as_ref());
        let mut unknown: Vec<_> =
            buckets.filter(|bucket| !self.buckets.contains_key(bucket)).cloned().collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }

    /// How many of those that wait each bucket lets go now, in the order given, as far as there is
    /// room. A bucket without a rate lets all go.
    pub(super) fn let_go(&mut self, due: Vec<(Bucket, Kept)>) -> Vec<(Bucket, u32)> {
        let mut left = self.room;
        let mut allowed = Vec::with_capacity(due.len());
        for (bucket, mut kept) in due {
            let wanted = left.min(u32::try_from(kept.waiting).unwrap_or(u32::MAX));
            let granted = self
                .limits
                .rate(&bucket.plugin)
                .map(|rate| rate.grant(kept.next_at, self.now, wanted));
            let count = granted.map_or(wanted, |granted| granted.count);
            if let Some(Granted { count: 0, next_at }) = granted {
                // It was of another rate, or of a clock that was set back since.
                kept.next_at = Some(next_at);
            }
            self.know(bucket.clone(), kept);
            if count > 0 {
                left -= count;
                allowed.push((bucket, count));
            }
        }
        allowed
    }

    /// Goes through due events, the longest due first: takes those whose bucket has room and puts
    /// the others aside. Ends where there is no room for one that could be taken; answers whether
    /// it came to the end.
    pub(super) fn decide(&mut self, mut candidates: Vec<Candidate>) -> bool {
        // One that waits and came back by itself is there twice.
        let waited: HashSet<_> =
            candidates.iter().filter(|one| one.waited).map(|one| one.event).collect();
        candidates.retain(|one| one.waited || !waited.contains(&one.event));
        candidates.sort_by_key(|candidate| candidate.due_at);
        for Candidate { event, due_at, bucket, waited } in candidates {
            let free = bucket.as_ref().is_none_or(|bucket| self.is_free(bucket, waited));
            match bucket {
                Some(bucket) if !free && !waited => self.put_aside(event, due_at, bucket),
                _ if free && self.room > 0 => {
                    self.charge(bucket, waited);
                    self.room -= 1;
                    self.taken.push((event, due_at));
                }
                Some(_) if waited => {}
                Some(_) | None => return false,
            }
        }
        true
    }

    /// Whether a bucket has room; for one that comes new, none before those that wait already.
    fn is_free(&self, bucket: &Bucket, waited: bool) -> bool {
        let kept = self.buckets.get(bucket).copied().unwrap_or_default();
        let rate = self.limits.rate(&bucket.plugin);
        (waited || kept.waiting <= 0)
            && rate.is_none_or(|rate| rate.grant(kept.next_at, self.now, 1).count == 1)
    }

    /// Counts one attempt that is free.
    fn charge(&mut self, bucket: Option<Bucket>, waited: bool) {
        let Some(bucket) = bucket else { return };
        let rate = self.limits.rate(&bucket.plugin);
        let kept = self.buckets.entry(bucket).or_default();
        kept.waiting -= i64::from(waited);
        if let Some(rate) = rate {
            kept.next_at = Some(rate.grant(kept.next_at, self.now, 1).next_at);
        }
    }

    fn put_aside(&mut self, event: EventId, due_at: Timestamp, bucket: Bucket) {
        let interval = self.limits.rate(&bucket.plugin).map_or(0, |rate| rate.interval_micros());
        let kept = self.buckets.entry(bucket.clone()).or_default();
        kept.waiting += 1;
        // It must be there for those who look which has room next.
        kept.next_at = Some(kept.next_at.unwrap_or(self.now));
        let wait = interval.saturating_mul(kept.waiting).saturating_mul(2);
        let wait = wait.saturating_add(ASIDE_MIN_MICROS).min(ASIDE_MAX_MICROS);
        self.aside.push(Aside { event, bucket, due_at, until: self.now.saturating_add(wait) });
    }

    /// What is to be kept of the buckets that were looked at: the time from which they have room,
    /// and by how much the number of those that wait has changed. `placed` got a place now, `left`
    /// left theirs.
    pub(super) fn kept(&self, placed: &[Bucket], left: &[Bucket]) -> Vec<(Bucket, i64, i64)> {
        let mut changes: HashMap<&Bucket, i64> = HashMap::new();
        for bucket in placed {
            *changes.entry(bucket).or_default() += 1;
        }
        for bucket in left {
            *changes.entry(bucket).or_default() -= 1;
        }
        let kept = self.buckets.iter().filter_map(|(bucket, kept)| {
            let change = changes.get(bucket).copied().unwrap_or(0);
            Some((bucket.clone(), kept.next_at?, change))
        });
        let mut kept: Vec<_> = kept.collect();
        kept.sort_unstable();
        kept
    }
}

/// How long until a point in time.
pub(super) fn wait_until(next_at: Option<i64>, now: i64) -> Option<Duration> {
    let micros = next_at?.saturating_sub(now);
    Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

/// The name of a plugin's lock, as a number.
pub(super) fn lock_number(plugin: &str) -> i64 {
    use sha2::{Digest, Sha256};
    let digest = Sha256::new().chain_update("tidegate limits of ").chain_update(plugin).finalize();
    i64::from_be_bytes(std::array::from_fn(|i| digest[i]))
}
