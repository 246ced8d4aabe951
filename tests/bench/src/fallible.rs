//! Errors of the bench are for people only.

pub(crate) type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A figure for a table; counts here are far below the 2^52 at which this would round.
#[allow(clippy::cast_precision_loss, reason = "counts of a bench are small")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}
