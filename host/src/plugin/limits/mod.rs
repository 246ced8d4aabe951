//! What one call may use. Every limit has a default, is in the manifest, and is enforced.

mod guard;
mod read;

use std::time::Duration;

pub(super) use guard::SandboxGuard;
pub(super) use read::RawLimits;

use crate::domain::{Rate, RateKey};

/// The manifest's `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Of one call, host functions included; what it waits for its turns is not counted.
    pub timeout: Duration,
    /// Bytes of all linear memories of an instance together.
    pub memory: usize,
    /// Calls at the same time, on one host.
    pub concurrency: usize,
    /// Events in hand at the same time, over all hosts and all types that the plugin handles.
    pub fleet_concurrency: Option<u32>,
    /// Attempts of one event type, over all hosts.
    pub rate: Option<Rate>,
    /// What of the payload the rate is counted by; without it all events share one count.
    pub rate_key: Option<RateKey>,
    /// Its share of a host that has all in hand that it can hold, beside other routes' shares.
    pub priority: u32,
    /// Elements of all tables of an instance together.
    pub table_elements: usize,
    /// Core instances that one component may be made of.
    pub instances: usize,
    /// Calls of checkpoint, secrets and signer in one call of the plugin.
    pub host_calls: u32,
    /// Random bytes that are asked for at once.
    pub random: u64,
    /// Log lines a call; each is cut at [`Limits::LOG_LINE_BYTES`].
    pub log_lines: u32,
    /// Bytes of all log lines of a call together, what it prints included.
    pub log_bytes: usize,
    /// Bytes of an event's or a follow-up's payload.
    pub payload: usize,
    /// Bytes of a receipt's detail.
    pub detail: usize,
    /// Bytes of a checkpoint.
    pub checkpoint: usize,
    /// Checkpoints saved in one call.
    pub checkpoint_saves: u32,
    /// Follow-ups of one receipt.
    pub follow_ups: usize,
    /// Bytes of the payloads of all follow-ups of one receipt together.
    pub follow_ups_bytes: usize,
    /// Outbound requests and messages a call.
    pub requests: u32,
    /// Bytes of the body of one outbound request or message.
    pub request_body: u64,
    /// Bytes of one answer's body.
    pub response_body: u64,
}

impl Limits {
    /// The largest `memory` that a manifest may ask for: what one slot of the pool holds.
    pub const MEMORY_MAX: usize = 256 << 20;
    /// The largest `concurrency`: the size of the pool.
    pub const CONCURRENCY_MAX: usize = 1_000;
    /// The largest `fleet_concurrency`.
    pub const FLEET_CONCURRENCY_MAX: u32 = 100_000;
    /// The largest `priority`.
    pub const PRIORITY_MAX: u32 = 100;
    /// The largest `timeout`.
    pub const TIMEOUT_MAX: Duration = Duration::from_secs(600);
    /// The largest of all sizes of bodies, payloads and checkpoints.
    pub const BYTES_MAX: usize = 16 << 20;
    pub const LOG_LINE_BYTES: usize = 4 << 10;
    /// The largest `table_elements`; a component's own functions need a few thousand.
    pub(super) const TABLE_ELEMENTS_MAX: usize = 50_000;
    /// The largest `instances`: a component with WASI has about ten.
    pub(super) const INSTANCES_MAX: u32 = 64;
    /// One is usual, and each more takes a plugin's share of the pool.
    pub(super) const MEMORIES_PER_COMPONENT: u32 = 8;
    pub(super) const TABLES_PER_COMPONENT: u32 = 16;
    /// What a guest may hand over in one call of the host beyond what the limits speak of: the
    /// texts around it, and enough of what is too much to say how much it was.
    const HAND_OVER_SLACK: usize = 1 << 20;

    /// Bytes that one call of the host, or one answer of the guest, may make the host copy.
    pub(super) fn hand_over_bytes(&self) -> usize {
        let body = usize::try_from(self.request_body).unwrap_or(usize::MAX);
        let receipt = self.detail.saturating_add(self.follow_ups_bytes);
        self.checkpoint.max(body).max(receipt).saturating_add(Self::HAND_OVER_SLACK)
    }
}

/// A guest went beyond a limit that ends its call. The text names the limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct LimitReached(pub(super) String);

/// A size as manifests write it: `32MiB`, and `7B` where no larger unit fits.
pub(super) fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let fits = units.into_iter().find(|(_, bits)| bytes > 0 && bytes.is_multiple_of(1 << bits));
    match fits {
        Some((unit, bits)) => format!("{}{unit}", bytes >> bits),
        None => format!("{bytes}B"),
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            memory: 32 << 20,
            concurrency: 64,
            fleet_concurrency: None,
            rate: None,
            rate_key: None,
            priority: 10,
            table_elements: Self::TABLE_ELEMENTS_MAX,
            instances: Self::INSTANCES_MAX as usize,
            host_calls: 1_000,
            random: 64 << 10,
            log_lines: 100,
            log_bytes: 64 << 10,
            payload: 256 << 10,
            detail: 64 << 10,
            checkpoint: 64 << 10,
            checkpoint_saves: 100,
            follow_ups: 16,
            follow_ups_bytes: 1 << 20,
            requests: 32,
            request_body: 1 << 20,
            response_body: 1 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_manifests_write_them() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1 << 10, "1KiB"),
            (1536, "1536B"),
            (100 << 10, "100KiB"),
            (32 << 20, "32MiB"),
            (1 << 30, "1GiB"),
        ] {
            assert_eq!(size(bytes), text);
            assert_eq!(crate::domain::parse_size(text), Ok(bytes));
        }
    }
}
