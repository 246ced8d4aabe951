//! The gate of the host: how many attempts it holds at once, over all lanes, and whose turn it is
//! when it holds all that it can.
//!
//! Weighted fair queueing: each lane's account grows by what it was given, divided by its priority,
//! and whoever has the lowest account is next. So a lane of priority 30 gets three times as much as
//! one of 10, while both want more than there is; and none waits for ever, for others' accounts grow
//! past its own. A lane that was idle begins where the others are: it cannot save up. While there is
//! room for all, nobody waits and priorities mean nothing.
//!
//! A slow target must not take every place: those who come later would wait until one of its
//! attempts times out, whatever their priority. So a lane holds at most [`SHARE`] times as much as
//! is left free: one lane alone gets eight ninths of a host, two slow ones eight seventeenths each,
//! and something is always left for the next.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::domain::EventType;

/// How long a waiting lane is left to gather several places before it gets what there is: a claim
/// for each single place would be slow.
const GATHER: Duration = Duration::from_millis(5);

/// How much a lane may hold, as a multiple of what is left free.
const SHARE: u32 = 8;
/// A host with fewer places gives all that it has: a share of them would be none.
const SHARED_FROM: u32 = 64;

/// What one place costs a lane of priority 1. Divisible by most priorities.
const COST: u64 = 27_720;

pub(super) struct Gate(Mutex<State>);

struct State {
    free: u32,
    total: u32,
    accounts: BTreeMap<EventType, Account>,
    /// The account that was served last: where those begin who come new.
    level: u64,
    waiting: Vec<Waiting>,
    tickets: u64,
}

/// What the gate knows of a lane.
#[derive(Debug, Default)]
struct Account {
    /// What it was given, divided by its priority.
    spent: u64,
    /// Places that it has now.
    held: u32,
}

struct Waiting {
    ticket: u64,
    lane: EventType,
    priority: u32,
    wanted: u32,
    /// With fewer it waits a little longer.
    enough: u32,
    served: oneshot::Sender<Places>,
}

/// Places that were given. They go back when this is dropped.
pub(super) struct Places {
    gate: Arc<Gate>,
    lane: EventType,
    count: u32,
}

impl Places {
    #[cfg(test)]
    const fn count(&self) -> u32 {
        self.count
    }

    /// One of them, with an owner of its own.
    pub(super) fn split(&mut self) -> Option<Self> {
        self.count = self.count.checked_sub(1)?;
        Some(Self { gate: Arc::clone(&self.gate), lane: self.lane.clone(), count: 1 })
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        if self.count > 0 {
            self.gate.give_back(&self.lane, self.count);
        }
    }
}

impl Gate {
    pub(super) fn new(places: u32) -> Arc<Self> {
        let total = places.max(1);
        Arc::new(Self(Mutex::new(State {
            free: total,
            total,
            accounts: BTreeMap::new(),
            level: 0,
            waiting: Vec::new(),
            tickets: 0,
        })))
    }

    /// Up to `wanted` places, at least one; waits while there are none, or others come first.
    pub(super) async fn enter(
        self: &Arc<Self>,
        lane: &EventType,
        priority: u32,
        wanted: u32,
    ) -> Places {
        let (ticket, mut served) = self.queue(lane, priority, wanted.max(1));
        self.serve();
        let served = match tokio::time::timeout(GATHER, &mut served).await {
            Ok(served) => served,
            Err(_) => {
                self.content(ticket);
                self.serve();
                served.await
            }
        };
        // The gate drops nobody who waits.
        served.unwrap_or_else(|_| Places { gate: Arc::clone(self), lane: lane.clone(), count: 0 })
    }

    fn queue(
        &self,
        lane: &EventType,
        priority: u32,
        wanted: u32,
    ) -> (u64, oneshot::Receiver<Places>) {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        state.tickets += 1;
        let ticket = state.tickets;
        let level = state.level;
        let account = state.accounts.entry(lane.clone()).or_default();
        account.spent = account.spent.max(level);
        state.waiting.push(Waiting {
            ticket,
            lane: lane.clone(),
            priority: priority.max(1),
            wanted,
            enough: wanted.div_ceil(2),
            served: sender,
        });
        (ticket, receiver)
    }

    /// Who waited long enough takes any number.
    fn content(&self, ticket: u64) {
        let mut state = self.state();
        if let Some(waiting) = state.waiting.iter_mut().find(|waiting| waiting.ticket == ticket) {
            waiting.enough = 1;
        }
    }

    fn give_back(self: &Arc<Self>, lane: &EventType, count: u32) {
        self.state().take_back(lane, count);
        self.serve();
    }

    /// Serves whoever is next, as long as there is enough for them.
    fn serve(self: &Arc<Self>) {
        loop {
            // Not held while places are sent: if nobody takes them they come back through here.
            let Some((served, lane, count)) = self.state().next() else { return };
            let places = Places { gate: Arc::clone(self), lane, count };
            if let Err(unwanted) = served.send(places) {
                drop(unwanted);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&mut self) -> Option<(oneshot::Sender<Places>, EventType, u32)> {
        self.waiting.retain(|waiting| !waiting.served.is_closed());
        let spent = |waiting: &Waiting| self.accounts.get(&waiting.lane).map_or(0, |it| it.spent);
        // Of those who hold their share already it is nobody's turn, and none waits for them.
        let first = self
            .waiting
            .iter()
            .enumerate()
            .filter(|(_, waiting)| self.allowed(&waiting.lane) > 0)
            .min_by_key(|(_, waiting)| (spent(waiting), waiting.ticket))
            .map(|(place, _)| place)?;
        let allowed = self.allowed(&self.waiting[first].lane);
        if allowed < self.waiting[first].enough.max(1) {
            return None;
        }
        let Waiting { lane, priority, wanted, served, .. } = self.waiting.remove(first);
        let count = allowed.min(wanted);
        self.free -= count;
        let account = self.accounts.entry(lane.clone()).or_default();
        self.level = account.spent;
        account.spent =
            account.spent.saturating_add(u64::from(count) * (COST / u64::from(priority)));
        account.held = account.held.saturating_add(count);
        Some((served, lane, count))
    }

    /// How many places a lane may get now: with them it holds at most [`SHARE`] times what is then
    /// left free.
    fn allowed(&self, lane: &EventType) -> u32 {
        let held = self.accounts.get(lane).map_or(0, |account| account.held);
        if self.total < SHARED_FROM {
            return self.free;
        }
        let share = (SHARE * self.free).saturating_sub(held) / (SHARE + 1);
        // Who holds none is never refused the last one.
        if held == 0 { share.max(1).min(self.free) } else { share }
    }

    fn take_back(&mut self, lane: &EventType, count: u32) {
        self.free += count;
        if let Some(account) = self.accounts.get_mut(lane) {
            account.held = account.held.saturating_sub(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(name: &str) -> EventType {
        name.parse().unwrap()
    }

    /// Places that each of these lanes got of so many, while all want more all the time.
    async fn shares(places: u32, lanes: &[(&str, u32, u32)], turns: u32) -> Vec<u32> {
        let gate = Gate::new(places);
        let mut held = vec![gate.enter(&lane("OTHER"), 1, places).await];
        let entering = |(name, priority, wanted): (&str, u32, u32)| {
            let (gate, name) = (Arc::clone(&gate), lane(name));
            tokio::spawn(async move { gate.enter(&name, priority, wanted).await })
        };
        let mut waiting: Vec<_> = lanes.iter().map(|lane| entering(*lane)).collect();
        let mut got = vec![0; lanes.len()];
        for _ in 0..turns {
            // All of them stand in line before anything is given back.
            while gate.state().waiting.len() < lanes.len() {
                tokio::task::yield_now().await;
            }
            drop(held.remove(0));
            let (places, which, others) = futures_util::future::select_all(waiting).await;
            let places = places.unwrap();
            got[which] += places.count();
            held.push(places);
            waiting = others;
            // `select_all` moves the last into the gap.
            waiting.insert(which, entering(lanes[which]));
        }
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
        got
    }

    #[tokio::test(start_paused = true)]
    async fn while_there_is_room_nobody_waits() {
        let gate = Gate::new(10);
        let one = gate.enter(&lane("A"), 1, 4).await;
        let two = gate.enter(&lane("B"), 100, 4).await;
        let rest = gate.enter(&lane("A"), 1, 4).await;
        assert_eq!((one.count(), two.count(), rest.count()), (4, 4, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowded_gate_is_shared_by_priority_and_starves_nobody() {
        let got = shares(1, &[("HIGH", 30, 1), ("LOW", 10, 1)], 400).await;
        assert_eq!(got.iter().sum::<u32>(), 400);
        assert!((295..=305).contains(&got[0]), "{got:?}");
        let got = shares(1, &[("HIGH", 100, 1), ("LOW", 1, 1)], 404).await;
        assert!((3..=5).contains(&got[1]), "the low one moves: {got:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_was_idle_has_saved_nothing_up() {
        let gate = Gate::new(1);
        for _ in 0..100 {
            gate.enter(&lane("BUSY"), 10, 1).await;
        }
        let held = gate.enter(&lane("BUSY"), 10, 1).await;
        let (_, late) = gate.queue(&lane("LATE"), 10, 1);
        let (_, busy) = gate.queue(&lane("BUSY"), 10, 1);
        let (_, late_again) = gate.queue(&lane("LATE"), 10, 1);
        drop(held);
        drop(late.await.unwrap());
        drop(busy.await.unwrap());
        drop(late_again.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn who_went_away_is_passed_over_and_its_places_come_back() {
        let gate = Gate::new(2);
        let held = gate.enter(&lane("A"), 10, 2).await;
        let (_, gone) = gate.queue(&lane("B"), 10, 2);
        drop(gone);
        drop(held);
        let (_, unread) = gate.queue(&lane("B"), 10, 2);
        gate.serve();
        assert_eq!(gate.state().free, 0);
        drop(unread);
        assert_eq!(gate.enter(&lane("C"), 10, 2).await.count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn lanes_that_never_give_back_leave_room_for_the_next() {
        let gate = Gate::new(1_000);
        let slow = lane("SLOW");
        let mut held = vec![gate.enter(&slow, 10, 1_000).await];
        assert_eq!(held[0].count(), 888);
        // It has its share: more is not given, and the others go past it.
        let (_, waits) = gate.queue(&slow, 100, 1);
        gate.serve();
        for (name, count) in [("B", 99), ("C", 11), ("D", 1), ("E", 1)] {
            held.push(gate.enter(&lane(name), 1, 1_000).await);
            assert_eq!(held.last().map(Places::count), Some(count), "{name}");
        }
        assert_eq!(gate.state().free, 0);
        held.remove(0);
        assert_eq!(waits.await.unwrap().count(), 1, "when it has given back it goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_gathered_for_a_moment_and_not_longer() {
        let gate = Gate::new(4);
        let mut held = gate.enter(&lane("A"), 10, 4).await;
        let entering = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(&lane("B"), 10, 4).await.count() }
        });
        drop(held.split());
        // One is not half of what is wanted, but after a moment it is better than nothing.
        assert_eq!(entering.await.unwrap(), 1);
        drop(held);
        assert_eq!(gate.enter(&lane("C"), 10, 9).await.count(), 4);
    }
}
