//! What one call may use. Every limit has a default, is in the manifest, and is enforced.

use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::domain::{Rate, RateKey};

/// The manifest's `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Of one call, host functions included.
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
    /// Log lines a call; each is cut at [`Limits::LOG_LINE_BYTES`].
    pub log_lines: u32,
    /// Bytes of an event's or a follow-up's payload.
    pub payload: usize,
    /// Bytes of a checkpoint.
    pub checkpoint: usize,
    /// Follow-ups of one receipt.
    pub follow_ups: usize,
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
    /// Elements of one table; a component's own functions need a few thousand.
    pub(super) const TABLE_ELEMENTS: usize = 50_000;
    /// Core instances of one component: one with WASI has about ten.
    pub(super) const INSTANCES_PER_COMPONENT: u32 = 64;
    /// One is usual, and each more takes a plugin's share of the pool.
    pub(super) const MEMORIES_PER_COMPONENT: u32 = 8;
    pub(super) const TABLES_PER_COMPONENT: u32 = 16;
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
            log_lines: 100,
            payload: 256 << 10,
            checkpoint: 64 << 10,
            follow_ups: 16,
            requests: 32,
            request_body: 1 << 20,
            response_body: 1 << 20,
        }
    }
}

/// Reads the manifest's `rate` and `burst`.
pub(super) fn check_rate(rate: Option<&str>, burst: Option<u32>) -> Result<Option<Rate>, String> {
    let rate = match (rate, burst) {
        (Some(text), _) => text.parse::<Rate>().map_err(|error| format!("limits.rate: {error}"))?,
        (None, Some(_)) => return Err("limits.burst is of a rate: add limits.rate".into()),
        (None, None) => return Ok(None),
    };
    let Some(burst) = burst else { return Ok(Some(rate)) };
    let with_burst = rate.with_burst(burst).ok_or_else(|| {
        format!("limits.burst = {burst} is out of range: use 1 up to what {rate} brings in a day")
    })?;
    Ok(Some(with_burst))
}

/// Reads the manifest's `rate_key`.
pub(super) fn check_rate_key(
    path: Option<&str>,
    has_rate: bool,
) -> Result<Option<RateKey>, String> {
    let Some(path) = path else { return Ok(None) };
    if !has_rate {
        return Err("limits.rate_key is of a rate: add limits.rate".into());
    }
    path.parse().map(Some).map_err(|error| format!("limits.rate_key: {error}"))
}

/// Counts the sum of an instance's memories: a component with several must not multiply its limit.
#[derive(Debug)]
pub(super) struct MemoryGuard {
    used: usize,
    limit: usize,
    /// Why it refused, if it did.
    pub(super) exceeded: Option<String>,
}

impl MemoryGuard {
    pub(super) fn new(limit: usize) -> Self {
        Self { used: 0, limit, exceeded: None }
    }

    fn refuse(&mut self, reason: String) -> wasmtime::Result<bool> {
        let error = wasmtime::Error::msg(reason.clone());
        self.exceeded = Some(reason);
        // An error and not `Ok(false)`: that would only fail the growth, and the guest would trap
        // with a bare `unreachable` that tells the operator nothing.
        Err(error)
    }
}

impl ResourceLimiter for MemoryGuard {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // The memory's own end: no growth, so nothing to count, and no limit of ours.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let used = self.used.saturating_sub(current).saturating_add(desired);
        if used > self.limit {
            let reason = format!("memory limit {} reached", mebibytes(self.limit));
            return self.refuse(reason);
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > Limits::TABLE_ELEMENTS {
            let reason = format!("table limit of {} elements reached", Limits::TABLE_ELEMENTS);
            return self.refuse(reason);
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        Limits::INSTANCES_PER_COMPONENT as usize
    }

    fn tables(&self) -> usize {
        Limits::TABLES_PER_COMPONENT as usize
    }

    fn memories(&self) -> usize {
        Limits::MEMORIES_PER_COMPONENT as usize
    }
}

fn mebibytes(bytes: usize) -> String {
    if bytes.is_multiple_of(1 << 20) {
        format!("{}MiB", bytes >> 20)
    } else {
        format!("{}KiB", bytes >> 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_memories_share_one_limit() {
        let mut guard = MemoryGuard::new(4 << 20);
        assert!(guard.memory_growing(0, 3 << 20, None).unwrap());
        assert!(guard.memory_growing(0, 1 << 20, None).unwrap());
        assert!(guard.memory_growing(1 << 20, 2 << 20, None).is_err());
        assert_eq!(guard.exceeded.as_deref(), Some("memory limit 4MiB reached"));
    }

    #[test]
    fn a_growth_beyond_the_memorys_own_end_counts_for_nothing() {
        let mut guard = MemoryGuard::new(4 << 20);
        for _ in 0..100 {
            assert!(!guard.memory_growing(1 << 20, 3 << 20, Some(2 << 20)).unwrap());
        }
        assert!(guard.memory_growing(0, 4 << 20, None).unwrap());
        assert_eq!(guard.exceeded, None);
    }
}
