//! The time that a call has: what the host makes it wait does not count, within a bound.

use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Of what the host made it wait, so many times its limit at most does not count: a call that computes
/// without end, beside others that do, is over after five times its limit and one turn.
const WAITS_TIMES: u32 = 4;

/// How long a call waited for the host: for its turn to compute, or for the audit record to have room.
#[derive(Debug, Default)]
pub(super) struct HostWaits(Mutex<Waits>);

#[derive(Debug, Default)]
struct Waits {
    over: Duration,
    /// How many waits there are now, and since when there is one.
    now: u32,
    since: Option<Instant>,
}

/// A wait that is over when this is dropped.
struct Wait<'w>(&'w HostWaits);

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut waits = self.0.waits();
        waits.now = waits.now.saturating_sub(1);
        if waits.now == 0
            && let Some(since) = waits.since.take()
        {
            waits.over = waits.over.saturating_add(since.elapsed());
        }
    }
}

impl HostWaits {
    pub(super) fn add(&self, waited: Duration) {
        let mut waits = self.waits();
        waits.over = waits.over.saturating_add(waited);
    }

    /// Does what makes a call wait.
    pub(super) async fn during<F: Future>(&self, wait: F) -> F::Output {
        let _waiting = {
            let mut waits = self.waits();
            waits.now = waits.now.saturating_add(1);
            waits.since.get_or_insert_with(Instant::now);
            Wait(self)
        };
        wait.await
    }

    /// Until now.
    pub(super) fn total(&self) -> Duration {
        let waits = self.waits();
        let now = waits.since.map_or(Duration::ZERO, |since| since.elapsed());
        waits.over.saturating_add(now)
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Longer than a call with this limit lasts, with all that the host makes it wait.
pub(super) const fn longest(limit: Duration) -> Duration {
    limit.saturating_mul(2 * (1 + WAITS_TIMES))
}

/// Runs a call for as long as it may. None: its time is over.
pub(super) async fn within<F: Future>(
    limit: Duration,
    waits: &HostWaits,
    call: F,
) -> Option<F::Output> {
    let began = Instant::now();
    let mut call = pin!(call);
    let waited = || waits.total().min(limit.saturating_mul(WAITS_TIMES));
    loop {
        let not_counted = waited();
        let deadline = began + limit + not_counted;
        match tokio::time::timeout_at(deadline, &mut call).await {
            Ok(output) => return Some(output),
            Err(_) if waited() > not_counted => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn took<T>(call: impl Future<Output = T>) -> (T, Duration) {
        let began = Instant::now();
        let output = call.await;
        (output, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn its_own_time_is_limited() {
        let waits = HostWaits::default();
        assert_eq!(within(SECOND, &waits, async { 7 }).await, Some(7));
        let endless = within(SECOND, &waits, std::future::pending::<()>());
        assert_eq!(took(endless).await, (None, SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_host_makes_it_wait_is_not_its_own() {
        let waits = HostWaits::default();
        let call = async {
            for _ in 0..3 {
                tokio::time::sleep(SECOND / 4).await;
                waits.during(tokio::time::sleep(SECOND)).await;
            }
        };
        assert_eq!(within(SECOND, &waits, call).await, Some(()));
        // Waited for once, and then it goes on and on.
        let waits = HostWaits::default();
        let call = async {
            waits.during(tokio::time::sleep(SECOND * 2)).await;
            std::future::pending::<()>().await;
        };
        assert_eq!(took(within(SECOND, &waits, call)).await, (None, SECOND * 3));
    }

    #[tokio::test(start_paused = true)]
    async fn waits_without_end_end() {
        let waits = HostWaits::default();
        let call = async {
            loop {
                waits.during(tokio::time::sleep(SECOND / 10)).await;
            }
        };
        assert_eq!(took(within(SECOND, &waits, call)).await, ((None::<()>), SECOND * 5));
    }
}
