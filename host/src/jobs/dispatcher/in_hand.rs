//! The events that this host holds, and the prolonging of their leases.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{JOB, Shared};
use crate::domain::{EventId, LeaseToken};
use crate::store::LeaseRef;

/// Events from their claim to their settlement.
#[derive(Default)]
pub(super) struct InHand(Mutex<HashMap<EventId, Held>>);

struct Held {
    token: LeaseToken,
    claimed_at: Instant,
    lost: CancellationToken,
}

impl InHand {
    /// Notes a claimed event. The token is cancelled if the lease is lost meanwhile.
    pub(super) fn add(&self, lease: LeaseRef) -> CancellationToken {
        let lost = CancellationToken::new();
        let held = Held { token: lease.token, claimed_at: Instant::now(), lost: lost.clone() };
        self.lock().insert(lease.event, held);
        lost
    }

    pub(super) fn remove(&self, lease: LeaseRef) {
        let mut held = self.lock();
        // A later claim of the same event is another lease.
        if held.get(&lease.event).is_some_and(|h| h.token == lease.token) {
            held.remove(&lease.event);
        }
    }

    /// Leases that were taken at least so long ago, in the order of their events: all who write
    /// many events lock them in this order.
    fn leases_older_than(&self, age: Duration) -> Vec<LeaseRef> {
        let held = self.lock();
        let old = held.iter().filter(|(_, held)| held.claimed_at.elapsed() >= age);
        let mut leases: Vec<_> =
            old.map(|(event, held)| LeaseRef { event: *event, token: held.token }).collect();
        leases.sort_unstable_by_key(|lease| lease.event);
        leases
    }

    fn mark_lost(&self, lease: LeaseRef) {
        if let Some(held) = self.lock().get(&lease.event)
            && held.token == lease.token
        {
            held.lost.cancel();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<EventId, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prolongs the leases of long attempts, three times within each lease, until `ended`. A lease that
/// is younger than a third is left to the next pass, which comes in time: events that are done in
/// milliseconds are never written a third time. An attempt whose lease turns out to be lost is
/// interrupted: another host may be at it.
pub(super) async fn prolong_leases(shared: Arc<Shared>, ended: CancellationToken) {
    let lease_for = shared.job.config.lease;
    loop {
        tokio::select! {
            () = ended.cancelled() => return,
            () = tokio::time::sleep(lease_for / 3) => {}
        }
        let leases = shared.in_hand.leases_older_than(lease_for / 3);
        if leases.is_empty() {
            continue;
        }
        match shared.job.store.extend(&leases, lease_for).await {
            Ok(held) => {
                let held: std::collections::HashSet<_> = held.into_iter().collect();
                for lease in leases.into_iter().filter(|lease| !held.contains(&lease.event)) {
                    shared.in_hand.mark_lost(lease);
                }
            }
            Err(error) => tracing::warn!(job = JOB, %error, "leases could not be prolonged"),
        }
    }
}
