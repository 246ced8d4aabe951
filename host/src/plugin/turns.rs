//! Who computes for long takes turns, so that who computes briefly never waits for it.
//!
//! Guests run on the threads of everything else, and each gives its thread back at every tick. But
//! sixty guests that spin would still stand in line before each step of anybody else: before every
//! query, every settlement, every answer. So a call that has computed for longer than [`BRIEF`] goes
//! on only in its turn, a tick at a time, and there are fewer turns than threads. A plugin whose
//! calls do so again and again owes what they took: its next calls take turns from the start. What
//! a call waits for its turns is not of its own time.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::own_time::HostWaits;

/// What a call may compute without waiting for a turn. A usual one needs 30 µs, an interpreter in a
/// component about a millisecond.
const BRIEF: Duration = Duration::from_millis(2);
/// How long a plugin owes what a long call took, as a multiple of it.
const OWES_TIMES: u32 = 4;
/// A plugin that was at fault is free of it after this, at the latest.
const OWES_MAX: Duration = Duration::from_secs(4);

/// The turns of a process. All but one of its threads may serve long calls, and one may if it is
/// the only one.
#[derive(Clone)]
pub(super) struct Turns {
    turns: Arc<Semaphore>,
    began: Instant,
}

/// What a plugin owes: until when its calls take turns, in microseconds since the turns began.
#[derive(Debug, Default)]
pub(super) struct Account(AtomicU64);

type Waiting = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

impl Turns {
    pub(super) fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::of(threads.saturating_sub(1).max(1))
    }

    fn of(turns: usize) -> Self {
        Self { turns: Arc::new(Semaphore::new(turns)), began: Instant::now() }
    }

    /// Runs a call, in turns once it has computed for long. What is dropped within it counts too:
    /// clearing an instance's memory is work.
    pub(super) async fn take<F: Future>(
        &self,
        account: &Account,
        waits: &HostWaits,
        call: F,
    ) -> F::Output {
        let mut call = pin!(call);
        let mut waiting: Option<(tokio::time::Instant, Waiting)> = None;
        let mut used = Duration::ZERO;
        poll_fn(|context| {
            let mut turn = None;
            if used > BRIEF || self.owes(account) {
                let next = || {
                    let turn = Box::pin(Arc::clone(&self.turns).acquire_owned()) as Waiting;
                    (tokio::time::Instant::now(), turn)
                };
                let (since, next) = waiting.get_or_insert_with(next);
                match next.as_mut().poll(context) {
                    Poll::Pending => return Poll::Pending,
                    // The semaphore is never closed.
                    Poll::Ready(taken) => turn = taken.ok(),
                }
                waits.add(since.elapsed());
                waiting = None;
            } else if let Some((since, _)) = waiting.take() {
                // It owes nothing any more. A turn that it was given meanwhile is the next one's.
                waits.add(since.elapsed());
            }
            let started = Instant::now();
            let polled = call.as_mut().poll(context);
            let took = started.elapsed();
            used += took;
            if used > BRIEF {
                self.charge(account, took);
            }
            drop(turn);
            polled
        })
        .await
    }

    /// Takes every turn, and lets a plugin owe one.
    #[cfg(test)]
    pub(super) async fn hold_against(&self, account: &Account) -> OwnedSemaphorePermit {
        self.charge(account, OWES_MAX);
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let all = u32::try_from(threads.saturating_sub(1).max(1)).unwrap();
        Arc::clone(&self.turns).acquire_many_owned(all).await.unwrap()
    }

    fn now(&self) -> u64 {
        micros(self.began.elapsed())
    }

    fn owes(&self, account: &Account) -> bool {
        account.0.load(Ordering::Relaxed) > self.now()
    }

    fn charge(&self, account: &Account, took: Duration) {
        let now = self.now();
        let (more, most) = (micros(took * OWES_TIMES), now.saturating_add(micros(OWES_MAX)));
        let _ = account.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |until| {
            Some(until.max(now).saturating_add(more).min(most))
        });
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Computes so long in one go, and then gives the thread back.
    async fn computes(slices: u32, running: &AtomicUsize, most: &AtomicUsize) {
        for _ in 0..slices {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let until = Instant::now() + Duration::from_millis(1);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            running.fetch_sub(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
    }

    async fn most_at_once(turns: usize, owing: bool) -> usize {
        let turns = Turns::of(turns);
        let account = Arc::new(Account::default());
        if owing {
            turns.charge(&account, OWES_MAX);
        }
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let calls = (0..8).map(|_| {
            let (turns, account) = (turns.clone(), Arc::clone(&account));
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            tokio::spawn(async move {
                let waits = HostWaits::default();
                turns.take(&account, &waits, computes(20, &running, &most)).await;
            })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap();
        }
        most.load(Ordering::SeqCst)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn who_owes_takes_turns_from_the_start() {
        assert_eq!(most_at_once(1, true).await, 1);
        assert!(most_at_once(2, true).await <= 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn long_calls_come_to_an_end_in_turns() {
        assert!(most_at_once(1, false).await >= 1);
    }

    #[tokio::test]
    async fn a_brief_call_never_waits_for_a_long_one() {
        let turns = Turns::of(1);
        let _held = Arc::clone(&turns.turns).acquire_owned().await.unwrap();
        let (account, waits) = (Account::default(), HostWaits::default());
        assert_eq!(turns.take(&account, &waits, async { 7 }).await, 7);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_waited_for_a_turn_is_counted_apart() {
        let turns = Turns::of(1);
        let (account, waits) = (Account::default(), HostWaits::default());
        turns.charge(&account, OWES_MAX);
        let held = Arc::clone(&turns.turns).acquire_owned().await.unwrap();
        let let_go = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(held);
        };
        tokio::join!(turns.take(&account, &waits, async {}), let_go);
        assert!(waits.total() >= Duration::from_secs(1));
    }

    #[tokio::test]
    async fn who_owes_nothing_any_more_leaves_its_turn_to_the_next() {
        let turns = Turns::of(1);
        let (account, waits) = (Account::default(), HostWaits::default());
        turns.charge(&account, OWES_MAX);
        let held = Arc::clone(&turns.turns).acquire_owned().await.unwrap();
        // Once it runs, it waits for something else for as long as it lives.
        let running = tokio::sync::Notify::new();
        let goes_on = async {
            running.notify_one();
            std::future::pending::<()>().await;
        };
        let mut first = pin!(turns.take(&account, &waits, goes_on));
        assert!(futures_util::poll!(first.as_mut()).is_pending());
        account.0.store(0, Ordering::Relaxed);
        drop(held);
        assert!(futures_util::poll!(first.as_mut()).is_pending());
        running.notified().await;
        assert!(turns.turns.try_acquire().is_ok(), "the turn is free");
    }

    #[test]
    fn a_debt_grows_with_what_was_taken_and_ends() {
        let turns = Turns::of(1);
        let account = Account::default();
        assert!(!turns.owes(&account));
        turns.charge(&account, Duration::from_secs(3600));
        assert!(turns.owes(&account));
        let until = account.0.load(Ordering::Relaxed);
        assert!(until <= turns.now() + micros(OWES_MAX));
    }
}
