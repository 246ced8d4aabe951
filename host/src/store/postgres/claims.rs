//! The rows of `outbox_claims` that are this host's, and which of them it may write its next claim over.
//!
//! Only memory: a row that is forgotten here goes when its leases have run out, with whatever it holds.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::domain::{EventId, EventState, LeaseToken, OutboxEvent};
use crate::store::LeaseRef;

/// Leases that are remembered at once. Some are never ended, because they were lost; rather than to
/// look for those, all are forgotten when there are so many.
const LEASES_MAX: usize = 100_000;

/// Keeps what `claimed` took in the row of a claim; nothing if it took nothing. `$last` are the place
/// and the id of its `last` event.
macro_rules! keep_claim {
    ($claim:literal, $event_type:literal, $last:literal) => {
        concat!(
            "INSERT INTO outbox_claims \
             (id, event_type, events, claimed_at, leased_until, last_at, last_id) SELECT ",
            $claim,
            ", ",
            $event_type,
            ", c.events, now(), c.leased_until, ",
            $last,
            " FROM (SELECT array_agg(id) AS events, min(locked_until) AS leased_until FROM claimed) \
             AS c CROSS JOIN (SELECT available_at, id FROM claimed \
             ORDER BY available_at DESC, id DESC LIMIT 1) AS last ON CONFLICT (id) DO UPDATE SET \
             event_type = excluded.event_type, events = excluded.events, \
             claimed_at = excluded.claimed_at, leased_until = excluded.leased_until, \
             last_at = excluded.last_at, last_id = excluded.last_id"
        )
    };
}

pub(super) use keep_claim;

#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The claim of each lease that has not ended.
    leases: HashMap<EventId, (LeaseToken, Uuid)>,
    /// How many leases of a claim have not ended.
    open: HashMap<Uuid, usize>,
    /// Claims of which nothing is left, whose rows may be written over.
    free: Vec<Uuid>,
}

impl Claims {
    /// A row for the next claim. Whoever does not learn what became of that claim drops it: it may
    /// hold leases.
    pub(super) fn next(&self) -> Uuid {
        self.state().free.pop().unwrap_or_else(Uuid::now_v7)
    }

    /// Notes what a claim took.
    pub(super) fn begin(&self, claim: Uuid, events: &[OutboxEvent]) {
        let mut state = self.state();
        if state.leases.len() + events.len() > LEASES_MAX {
            *state = State::default();
        }
        if events.is_empty() {
            state.free.push(claim);
        }
        for event in events {
            if let EventState::Processing(lease) = &event.state {
                state.leases.insert(event.id, (lease.token, claim));
                *state.open.entry(claim).or_default() += 1;
            }
        }
    }

    /// Notes that leases were settled or given back, once that is on disk: until then the row is what
    /// another host would find them by.
    pub(super) fn end(&self, leases: &[LeaseRef]) {
        let mut state = self.state();
        for lease in leases {
            let Some((token, claim)) = state.leases.get(&lease.event).copied() else { continue };
            if token != lease.token {
                continue;
            }
            state.leases.remove(&lease.event);
            let left = state.open.get(&claim).map_or(0, |count| count.saturating_sub(1));
            if left > 0 {
                state.open.insert(claim, left);
            } else {
                state.open.remove(&claim);
                state.free.push(claim);
            }
        }
    }

    /// The claims that leases came from.
    pub(super) fn of(&self, leases: &[LeaseRef]) -> Vec<Uuid> {
        let state = self.state();
        let claims = leases.iter().filter_map(|lease| state.leases.get(&lease.event));
        let mut claims: Vec<_> = claims.map(|(_, claim)| *claim).collect();
        claims.sort_unstable();
        claims.dedup();
        claims
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Aggregate, NewEvent};

    fn events(count: usize) -> Vec<OutboxEvent> {
        let new = || {
            let aggregate = Aggregate::new("ORDER", "1").unwrap();
            NewEvent::due_now(aggregate, "A".parse().unwrap(), "{}".into())
        };
        let now = chrono::DateTime::UNIX_EPOCH;
        (0..count).map(|_| OutboxEvent::just_claimed(new(), now)).collect()
    }

    fn lease(event: &OutboxEvent) -> LeaseRef {
        let EventState::Processing(lease) = &event.state else { panic!() };
        LeaseRef { event: event.id, token: lease.token }
    }

    #[test]
    fn a_row_is_free_when_the_last_lease_has_ended_and_only_once() {
        let (claims, taken) = (Claims::default(), events(3));
        let claim = claims.next();
        claims.begin(claim, &taken);
        claims.end(&[lease(&taken[0]), lease(&taken[2])]);
        claims.end(&[lease(&taken[0])]);
        let older =
            LeaseRef { token: LeaseToken(lease(&taken[1]).token.0 - 1), ..lease(&taken[1]) };
        claims.end(&[older]);
        assert!(claims.state().free.is_empty());
        claims.end(&[lease(&taken[1])]);
        claims.end(&[lease(&taken[1])]);
        assert_eq!(claims.next(), claim);
        assert_ne!(claims.next(), claim);
        claims.begin(claim, &[]);
        assert_eq!(claims.next(), claim, "it took nothing");
    }

    #[test]
    fn what_is_never_ended_does_not_pile_up() {
        let claims = Claims::default();
        for _ in 0..=(LEASES_MAX / 1_000) {
            claims.begin(Uuid::now_v7(), &events(1_000));
        }
        assert!(claims.state().leases.len() <= LEASES_MAX);
    }
}
