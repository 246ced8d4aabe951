//! When a failed attempt is made again: exponential backoff with full jitter.

use std::time::Duration;

/// How often and how soon an event is tried again. The manifest's `[retry]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included. At least 1.
    pub attempts_max: u32,
    /// The upper end of the wait after the first failure.
    pub base: Duration,
    /// The upper end of any wait.
    pub cap: Duration,
    /// How often a handler may say "not ready yet" before the event is FAILED.
    pub deferrals_max: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 12,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(600),
            deferrals_max: 10_000,
        }
    }
}

impl RetryPolicy {
    /// What a handler may ask for at most with `after-ms` or `defer`.
    pub const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

    /// The wait after the `failed`th failed attempt (1 is the first): a uniformly random share of
    /// min(cap, base × 2^(failed-1)). "Full jitter", so that events that failed together do not
    /// return together (M. Brooker, "Exponential Backoff And Jitter", 2015).
    ///
    /// `roll` is the random number, of which all values are equally likely.
    #[must_use]
    pub fn backoff(&self, failed: u32, roll: u32) -> Duration {
        let doublings = failed.saturating_sub(1).min(63);
        let ceiling = self.base.as_millis().saturating_mul(1_u128 << doublings);
        let ceiling = ceiling.min(self.cap.as_millis());
        let wait = ceiling * (u128::from(roll) + 1) / (u128::from(u32::MAX) + 1);
        Duration::from_millis(u64::try_from(wait).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let policy = RetryPolicy::default();
        let ceilings: Vec<_> = (1..=13).map(|n| policy.backoff(n, u32::MAX).as_millis()).collect();
        assert_eq!(ceilings[..4], [500, 1000, 2000, 4000]);
        assert_eq!(ceilings[11..], [600_000, 600_000]);
        assert_eq!(policy.backoff(1, 0), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn a_wait_is_never_above_the_cap(failed: u32, roll: u32, base in 0_u64..1 << 40, cap in 0_u64..1 << 40) {
            let policy = RetryPolicy {
                base: Duration::from_millis(base),
                cap: Duration::from_millis(cap),
                ..RetryPolicy::default()
            };
            prop_assert!(policy.backoff(failed, roll) <= policy.cap);
        }

        #[test]
        fn a_later_failure_never_waits_less_at_the_same_roll(failed in 1_u32..100, roll: u32) {
            let policy = RetryPolicy::default();
            prop_assert!(policy.backoff(failed, roll) <= policy.backoff(failed + 1, roll));
        }
    }
}
