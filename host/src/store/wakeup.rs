//! The hint that there may be new work.

use tokio::sync::watch;

/// Counts hints. Receivers look for a change, never at the number, so hints that come together are
/// one, and a hint that comes while nobody waits is not lost.
#[derive(Debug, Clone)]
pub(super) struct Wakeup(watch::Sender<u64>);

impl Wakeup {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    pub(super) fn send(&self) {
        self.0.send_modify(|hints| *hints = hints.wrapping_add(1));
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}
