//! Gathering the places for one claim.

use std::sync::Arc;
use std::time::Duration;

use crate::plugin::{Slot, Slots};

/// How long a lane waits for more free slots before it claims with those it has. Claims of half a
/// batch cost the database a third less for each event than claims of a fifth.
const GATHER: Duration = Duration::from_millis(5);

/// The first place and, after a short wait, what else is free: half of a batch is worth it, for
/// claims of one event each would be slow.
pub(super) async fn gather(slots: &Arc<Slots>, first: Slot, most: usize) -> Vec<Slot> {
    let wanted = u32::try_from(most / 2).unwrap_or(1);
    let mut taken = vec![first];
    if wanted > 1
        && let Ok(more) = tokio::time::timeout(GATHER, slots.acquire_many(wanted - 1)).await
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
