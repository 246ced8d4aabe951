//! Waiting for facts, with a deadline.

use std::time::{Duration, Instant};

/// Short against what is waited for, long against the cost of looking.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Looks at a fact until it holds, and gives what it showed.
///
/// # Panics
/// It did not hold in time; the message says what was seen last.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let begun = Instant::now();
    loop {
        match look().await {
            Ok(shown) => return shown,
            Err(seen) if begun.elapsed() > within => {
                panic!("not within {within:?}: {what}; last seen: {seen}")
            }
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// The fact that two values are equal.
///
/// # Errors
/// They are not; the text shows the one that was found.
pub fn equal<T: PartialEq + std::fmt::Debug>(found: &T, wanted: &T) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{found:?} instead of {wanted:?}")) }
}
