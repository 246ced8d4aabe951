//! Gathering: one statement for many events costs the database much less for each than many for few.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::plugin::{Slot, Slots};

/// The shortest wait and the longest.
const WAIT_MIN: Duration = Duration::from_millis(5);
const WAIT_MAX: Duration = Duration::from_millis(25);
/// The wait as a multiple of what the last statement took.
const TIMES: u32 = 2;

/// How long it is worth to wait for company. Where one host has the database for itself, little time
/// brings many events. Where many hosts share it, each gets little done at a time and statements take
/// long: eight of them lost a third of the speed of one to statements of a few events each.
#[derive(Debug, Default)]
pub(super) struct Patience {
    last_micros: AtomicU64,
}

impl Patience {
    pub(super) fn wait(&self) -> Duration {
        let last = Duration::from_micros(self.last_micros.load(Ordering::Relaxed));
        (last * TIMES).clamp(WAIT_MIN, WAIT_MAX)
    }

    /// Notes how long a statement took.
    pub(super) fn note(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.last_micros.store(micros, Ordering::Relaxed);
    }

    /// The first place and, after a short wait, what else is free: half of a batch is worth it.
    pub(super) async fn gather(&self, slots: &Arc<Slots>, first: Slot, most: usize) -> Vec<Slot> {
        let wanted = u32::try_from(most / 2).unwrap_or(1);
        let mut taken = vec![first];
        if wanted > 1
            && let Ok(more) =
                tokio::time::timeout(self.wait(), slots.acquire_many(wanted - 1)).await
        {
            taken.extend(more);
        }
        while taken.len() < most
            && let Some(one) = slots.try_acquire()
        {
            taken.push(one);
        }
        taken
    }
}
