//! The built binary, from outside: over HTTP, on the command line, and by what reaches its targets.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod bad_plugin;
mod bad_requests;
mod breaker;
mod cancelling;
mod command_line;
mod crashes;
mod deploy;
mod dev;
mod faults;
mod forgeries;
mod hostile;
mod limits;
mod many_at_once;
mod oci;
mod partner_down;
mod policies;
mod real_targets;
mod stopping;
mod stores;
mod swap;
