//! The time, as the host has it.

use std::time::SystemTime;

/// The time now. In tests it stands where
/// `testing::FakeHost::now` put it, else it is the machine's.
#[must_use]
pub fn now() -> SystemTime {
    crate::backend::now()
}
