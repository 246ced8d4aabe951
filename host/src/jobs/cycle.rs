//! The loop that all polling jobs share.

use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;

/// Whether a pass left work behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// There may be more: go on at once.
    More,
    /// Nothing is due: wait for the next poll.
    Nothing,
}

/// A job's duty, done in passes.
#[async_trait]
pub(super) trait Duty: Send + Sync {
    /// As it stands in logs.
    const NAME: &'static str;
    type Error: std::fmt::Display + Send;

    async fn pass(&self) -> Result<Rest, Self::Error>;

    /// Ends when something says that there may be work before the next poll. A poll stands behind
    /// it: what is missed here is done then.
    async fn woken(&self) {
        std::future::pending::<()>().await;
    }
}

/// The longest pause after failed passes: when the store is back, everything works again within
/// five seconds.
const BACKOFF_MAX: Duration = Duration::from_secs(4);

/// Makes passes until `stop`. A pass in hand is finished. After failed passes the pause doubles, up
/// to its bound, so that a store that is away is not hammered.
pub(super) async fn run<D: Duty>(
    duty: &D,
    poll: Duration,
    metrics: &Metrics,
    stop: CancellationToken,
) {
    let job = D::NAME;
    tracing::info!(job, "started");
    let mut failures = 0_u32;
    while !stop.is_cancelled() {
        let pass = duty.pass().await;
        if pass.is_ok() {
            metrics.passed(job);
        }
        let failed = pass.is_err();
        let pause = match pass {
            Ok(Rest::More) => {
                failures = 0;
                continue;
            }
            Ok(Rest::Nothing) => {
                if failures > 0 {
                    tracing::info!(job, "works again after {failures} failed passes");
                }
                failures = 0;
                poll
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                let pause = backoff(poll, failures);
                tracing::warn!(job, %error, "a pass failed; the next one in {} ms", pause.as_millis());
                pause
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
            // What is away is not asked more often because blocks go on.
            () = duty.woken(), if !failed => {}
        }
    }
    tracing::info!(job, "stopped");
}

/// How long to wait after the `failures`th failure in a row.
pub(super) fn backoff(poll: Duration, failures: u32) -> Duration {
    poll.saturating_mul(1 << failures.min(6)).min(BACKOFF_MAX).max(poll)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_after_failures_doubles_up_to_its_bound() {
        let poll = Duration::from_millis(250);
        let pauses: Vec<_> = (1..=8).map(|n| backoff(poll, n).as_millis()).collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 4000, 4000, 4000, 4000]);
        // A job that polls seldom is not made to poll more often by failing.
        assert_eq!(backoff(Duration::from_secs(60), 3), Duration::from_secs(60));
    }
}
