//! Lines for the operator. The host adds the plugin's name and the event's id.
//!
//! The macros [`debug!`](crate::debug!), [`info!`](crate::info!), [`warn!`](crate::warn!) and
//! [`error!`](crate::error!) take what `format!` takes.

use crate::backend;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For whoever looks for a fault.
    Debug,
    /// What is going on.
    Info,
    /// Somebody should look at it some time.
    Warn,
    /// Somebody should look at it now.
    Error,
}

/// Writes one line. Lines beyond the manifest's `limits.log_lines` a call are counted and dropped.
pub fn write(level: Level, message: &str) {
    backend::log(level, message);
}

/// Writes a line of level [`Level::Debug`].
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// Writes a line of level [`Level::Info`].
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Writes a line of level [`Level::Warn`].
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// Writes a line of level [`Level::Error`].
pub fn error(message: &str) {
    write(Level::Error, message);
}

/// Tells the operator something that should not be lost among other lines: it is a line of level
/// [`Level::Warn`], and the host counts it in `tidegate_plugin_notices_total{plugin,reason}`, for
/// an alert. `reason` is a word of at most 32 lower-case letters, digits and hyphens; another one
/// is counted as `other`.
///
/// ```
/// tidegate_plugin::log::notice("unknown-answer", "the partner said something new");
/// ```
pub fn notice(reason: &str, message: &str) {
    write(Level::Warn, &format!("notice {reason}: {message}"));
}

/// Writes a line for whoever looks for a fault.
#[macro_export]
macro_rules! debug {
    ($($part:tt)+) => { $crate::log::debug(&::std::format!($($part)+)) };
}

/// Writes a line about what is going on.
///
/// ```
/// let attempt = 2;
/// tidegate_plugin::info!("attempt {attempt}");
/// ```
#[macro_export]
macro_rules! info {
    ($($part:tt)+) => { $crate::log::info(&::std::format!($($part)+)) };
}

/// Writes a line that somebody should look at some time.
#[macro_export]
macro_rules! warn {
    ($($part:tt)+) => { $crate::log::warn(&::std::format!($($part)+)) };
}

/// Writes a line that somebody should look at now.
#[macro_export]
macro_rules! error {
    ($($part:tt)+) => { $crate::log::error(&::std::format!($($part)+)) };
}
