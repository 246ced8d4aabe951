//! What repeats a random test.

use std::time::Duration;

/// The seed of this run: `TIDEGATE_SEED`, or a new one. It is printed, for a failure to be repeated.
///
/// # Panics
/// The variable holds no number.
#[must_use]
pub fn seed() -> u64 {
    let seed = number("TIDEGATE_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("TIDEGATE_SEED={seed} repeats what was drawn");
    seed
}

/// For how long the crash tests make faults: `TIDEGATE_CRASH_SECONDS`, or this.
///
/// # Panics
/// The variable holds no number.
#[must_use]
pub fn crash_for(default: Duration) -> Duration {
    number("TIDEGATE_CRASH_SECONDS").map_or(default, Duration::from_secs)
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, and not {text}")))
}
