//! What is not delivered yet, from the table itself.
//!
//! Counters that a process keeps are zero after a restart and know nothing of what no host takes;
//! the rows do. Everything here is bounded, however much is waiting.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::StoreError;
use super::row::{self, ColumnError, Columns};
use crate::domain::{EventStatus, EventType};

/// Rows that are counted: of each type that are PENDING, and over all types in each other status.
/// Who sees this many knows enough.
pub const BACKLOG_COUNT_MAX: u32 = 10_000;

/// Types whose pending events are looked at: anyone may write a type of their own.
pub(super) const TYPES_MAX: u32 = 500;

#[async_trait]
pub trait BacklogStore: Send + Sync {
    /// One entry for each event type that has an event which is not DONE, by name. An event whose
    /// time has not come, because it is scheduled, is in no number. How many are held, nobody knows
    /// here: see [`backlog_of`].
    async fn backlog(&self) -> Result<Vec<TypeBacklog>, StoreError>;

    /// How many events, of those that are due and among these types of an ordered route, are held by
    /// an earlier one of their aggregate. Looks at [`BACKLOG_COUNT_MAX`] at most.
    async fn held(
        &self,
        ordered_among: &[EventType],
    ) -> Result<Vec<(EventType, Count)>, StoreError>;

    /// How many withdrawals wait for a signature, by the rule that they wait for.
    async fn waiting(&self) -> Result<Vec<(String, u64)>, StoreError>;
}

/// The backlog, with what the order of these routes holds.
///
/// # Errors
/// The store's.
pub async fn backlog_of<'o>(
    store: &dyn BacklogStore,
    ordered: impl IntoIterator<Item = &'o [EventType]>,
) -> Result<Vec<TypeBacklog>, StoreError> {
    let mut types = store.backlog().await?;
    for among in ordered {
        // Most of the time nothing of them is there.
        if !types.iter().any(|found| among.contains(&found.event_type)) {
            continue;
        }
        for (event_type, held) in store.held(among).await? {
            if let Some(found) = types.iter_mut().find(|found| found.event_type == event_type) {
                found.held = held;
            }
        }
    }
    Ok(types)
}

/// A backlog, and when it was read: what is read once is shown for a moment.
#[derive(Debug, Clone)]
pub struct Backlog {
    pub read_at: Instant,
    pub types: Vec<TypeBacklog>,
    /// Withdrawals that wait for a signature, by rule.
    pub waits: Vec<(String, u64)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeBacklog {
    pub event_type: EventType,
    /// PENDING, and due.
    pub pending: Count,
    pub processing: Count,
    pub retrying: Count,
    pub failed: Count,
    /// PENDING, and due but for the rate of their route.
    pub rate_limited: Count,
    /// PENDING, and put aside because no plugin of their type selects them.
    pub unrouted: Count,
    /// Of the pending ones, those that an earlier event of an ordered route holds.
    pub held: Count,
    /// Whether the route is paused.
    pub paused: bool,
    /// The age of the oldest that is PENDING and due, RETRYING or PROCESSING: since it was written,
    /// and if it was never tried, since it was due.
    pub oldest_age: Option<Duration>,
    /// How long the first in the queue has been due without being claimed.
    pub unclaimed_for: Option<Duration>,
}

/// A number that may have been too much to count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    pub number: u64,
    /// There may be more.
    pub at_least: bool,
}

impl TypeBacklog {
    const fn none(event_type: EventType) -> Self {
        const ZERO: Count = Count { number: 0, at_least: false };
        Self {
            event_type,
            pending: ZERO,
            processing: ZERO,
            retrying: ZERO,
            failed: ZERO,
            rate_limited: ZERO,
            unrouted: ZERO,
            held: ZERO,
            paused: false,
            oldest_age: None,
            unclaimed_for: None,
        }
    }

    /// Due for longer than `patience`, and no host is taking it: none has a plugin for it, or
    /// none lives, or an earlier event of an ordered route holds it. Paused, it is meant to wait.
    #[must_use]
    pub fn is_untaken(&self, patience: Duration) -> bool {
        !self.paused
            && self.processing.number == 0
            && self.unclaimed_for.is_some_and(|due| due > patience)
    }
}

impl Backlog {
    /// The age of the oldest undelivered event among these types, now.
    pub fn oldest_age<'a>(
        &self,
        types: impl IntoIterator<Item = &'a EventType>,
    ) -> Option<Duration> {
        let aged = self.read_at.elapsed();
        types
            .into_iter()
            .filter_map(|event_type| {
                let found = self.types.iter().find(|backlog| backlog.event_type == *event_type)?;
                found.oldest_age.map(|age| age.saturating_add(aged))
            })
            .max()
    }
}

/// What a query tells of one type and status.
pub(super) struct Tally {
    event_type: EventType,
    status: EventStatus,
    rows: u64,
    oldest_micros: i64,
    unclaimed_micros: i64,
}

impl Tally {
    pub(super) const fn is_some(&self) -> bool {
        self.rows > 0
    }
}

pub(super) fn tally<R: Columns>(row: &R) -> Result<Tally, StoreError> {
    row::field("outbox_events", read(row))
}

fn read<R: Columns>(row: &R) -> Result<Tally, ColumnError> {
    Ok(Tally {
        event_type: row.text("event_type")?.parse().map_err(|e| format!("{e}"))?,
        status: row.parse("status")?,
        rows: row.count("tally")?,
        oldest_micros: row.integer("oldest_micros")?,
        unclaimed_micros: row.integer("unclaimed_micros")?,
    })
}

/// A type with events that were put aside.
pub(super) struct Aside {
    event_type: EventType,
    /// How many wait for its rate, and how many for a plugin; and whether there are more.
    limited: u64,
    unrouted: u64,
    at_least: bool,
    oldest_age: Duration,
}

pub(super) fn rate_wait<R: Columns>(row: &R) -> Result<Aside, StoreError> {
    let read = |row: &R| {
        let (rows, unrouted): (u64, u64) = (row.count("tally")?, row.count("unrouted")?);
        Ok(Aside {
            event_type: row.text("event_type")?.parse().map_err(|e| format!("{e}"))?,
            limited: rows.saturating_sub(unrouted),
            unrouted,
            at_least: rows >= u64::from(BACKLOG_COUNT_MAX),
            oldest_age: age(row.integer("oldest_micros")?),
        })
    };
    row::field("rate_waiting", read(row))
}

/// How many of a type were found to be held, of how many that were looked at.
pub(super) fn held<R: Columns>(rows: &[R]) -> Result<Vec<(EventType, Count)>, StoreError> {
    let read = |row: &R| {
        let event_type: EventType = row.text("event_type")?.parse().map_err(|e| format!("{e}"))?;
        Ok((event_type, row.count::<u64>("held")?, row.count::<u64>("looked")?))
    };
    let found = rows.iter().map(|row| row::field("outbox_events", read(row)));
    let found = found.collect::<Result<Vec<_>, _>>()?;
    let looked: u64 = found.iter().map(|(.., looked)| looked).sum();
    let at_least = looked >= u64::from(BACKLOG_COUNT_MAX);
    let count = |number| Count { number, at_least };
    Ok(found.into_iter().map(|(event_type, held, _)| (event_type, count(held))).collect())
}

/// Puts together what was read of one moment.
pub(super) fn whole(tallies: &[Tally], asides: Vec<Aside>, paused: &[String]) -> Vec<TypeBacklog> {
    let mut types = sum(tallies);
    for Aside { event_type, limited, unrouted, at_least, oldest_age } in asides {
        let place = match types.binary_search_by(|found| found.event_type.cmp(&event_type)) {
            Ok(place) => place,
            Err(place) => {
                types.insert(place, TypeBacklog::none(event_type));
                place
            }
        };
        let count = |number| Count { number, at_least };
        types[place].rate_limited = count(limited);
        types[place].unrouted = count(unrouted);
        types[place].oldest_age = types[place].oldest_age.max(Some(oldest_age));
    }
    for found in &mut types {
        found.paused = paused.iter().any(|paused| paused == found.event_type.as_str());
    }
    types
}

/// Puts the tallies together. A status whose tallies reach the bound was not counted to its end.
fn sum(tallies: &[Tally]) -> Vec<TypeBacklog> {
    let full = |status: EventStatus| {
        let of_status = tallies.iter().filter(|tally| tally.status == status);
        of_status.map(|tally| tally.rows).sum::<u64>() >= u64::from(BACKLOG_COUNT_MAX)
    };
    let mut types = BTreeMap::new();
    for tally in tallies {
        let entry = types
            .entry(tally.event_type.as_str())
            .or_insert_with(|| TypeBacklog::none(tally.event_type.clone()));
        let at_least = match tally.status {
            EventStatus::Pending => tally.rows >= u64::from(BACKLOG_COUNT_MAX),
            other => full(other),
        };
        let count = Count { number: tally.rows, at_least };
        let age = Some(age(tally.oldest_micros));
        match tally.status {
            EventStatus::Pending => {
                entry.pending = count;
                entry.unclaimed_for = Some(self::age(tally.unclaimed_micros));
                entry.oldest_age = entry.oldest_age.max(age);
            }
            EventStatus::Processing => {
                entry.processing = count;
                entry.oldest_age = entry.oldest_age.max(age);
            }
            EventStatus::Retrying => {
                entry.retrying = count;
                entry.oldest_age = entry.oldest_age.max(age);
            }
            EventStatus::Failed => entry.failed = count,
            EventStatus::Done => {}
        }
    }
    types.into_values().collect()
}

/// A clock that was set back makes no negative age.
fn age(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(event_type: &str, status: EventStatus, rows: u64) -> Tally {
        let event_type = event_type.parse().unwrap();
        Tally { event_type, status, rows, oldest_micros: -5, unclaimed_micros: 0 }
    }

    #[test]
    fn a_bound_that_types_share_leaves_each_of_them_uncertain() {
        let max = u64::from(BACKLOG_COUNT_MAX);
        let types = sum(&[
            of("A", EventStatus::Failed, max - 1),
            of("B", EventStatus::Failed, 1),
            of("B", EventStatus::Pending, max - 1),
            of("B", EventStatus::Retrying, 1),
        ]);
        assert_eq!(types[0].failed, Count { number: max - 1, at_least: true });
        assert_eq!(types[1].failed, Count { number: 1, at_least: true });
        assert_eq!(types[1].pending, Count { number: max - 1, at_least: false });
        assert_eq!(types[1].retrying, Count { number: 1, at_least: false });
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_negative_age() {
        let types = sum(&[of("A", EventStatus::Pending, 1)]);
        assert_eq!(types[0].oldest_age, Some(Duration::ZERO));
    }
}
