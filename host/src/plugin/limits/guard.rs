//! What an instance may grow to: the sums over all its memories and all its tables.

use wasmtime::ResourceLimiter;

use super::{LimitReached, Limits, size};

/// Counts the sums of an instance: a component with several memories, or several tables, must not
/// multiply its limits.
#[derive(Debug)]
pub(in crate::plugin) struct SandboxGuard {
    memory_bytes: usize,
    memory_bytes_max: usize,
    table_elements: usize,
    table_elements_max: usize,
    instances_max: usize,
    /// Why it refused, if it did.
    pub(in crate::plugin) exceeded: Option<String>,
}

impl SandboxGuard {
    pub(in crate::plugin) fn new(limits: &Limits) -> Self {
        Self {
            memory_bytes: 0,
            memory_bytes_max: limits.memory,
            table_elements: 0,
            table_elements_max: limits.table_elements,
            instances_max: limits.instances,
            exceeded: None,
        }
    }

    fn refuse(&mut self, reason: String) -> wasmtime::Result<bool> {
        self.exceeded = Some(reason.clone());
        // An error and not `Ok(false)`: that would only fail the growth, and the guest would trap
        // with a bare `unreachable` that tells the operator nothing.
        Err(LimitReached(reason).into())
    }
}

/// The sum after one of its parts grew.
fn grown(sum: usize, current: usize, desired: usize) -> usize {
    sum.saturating_sub(current).saturating_add(desired)
}

impl ResourceLimiter for SandboxGuard {
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
        let used = grown(self.memory_bytes, current, desired);
        if used > self.memory_bytes_max {
            let reason = format!("memory limit {} reached", size(self.memory_bytes_max as u64));
            return self.refuse(reason);
        }
        self.memory_bytes = used;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // The pool has an end of its own, which is the largest limit: beyond that, ours is meant.
        let own_end = maximum.is_some_and(|maximum| desired > maximum);
        if own_end && desired <= self.table_elements_max {
            return Ok(false);
        }
        let used = grown(self.table_elements, current, desired);
        if used > self.table_elements_max {
            let reason = format!("table limit of {} elements reached", self.table_elements_max);
            return self.refuse(reason);
        }
        self.table_elements = used;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.instances_max
    }

    fn tables(&self) -> usize {
        Limits::TABLES_PER_COMPONENT as usize
    }

    fn memories(&self) -> usize {
        Limits::MEMORIES_PER_COMPONENT as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> SandboxGuard {
        SandboxGuard::new(&Limits { memory: 4 << 20, table_elements: 100, ..Limits::default() })
    }

    #[test]
    fn several_memories_share_one_limit() {
        let mut guard = guard();
        assert!(guard.memory_growing(0, 3 << 20, None).unwrap());
        assert!(guard.memory_growing(0, 1 << 20, None).unwrap());
        assert!(guard.memory_growing(1 << 20, 2 << 20, None).is_err());
        assert_eq!(guard.exceeded.as_deref(), Some("memory limit 4MiB reached"));
    }

    #[test]
    fn several_tables_share_one_limit() {
        let mut guard = guard();
        assert!(guard.table_growing(0, 60, None).unwrap());
        assert!(guard.table_growing(0, 40, None).unwrap());
        assert!(guard.table_growing(40, 41, None).is_err());
        assert_eq!(guard.exceeded.as_deref(), Some("table limit of 100 elements reached"));
    }

    #[test]
    fn a_growth_beyond_its_own_end_counts_for_nothing() {
        let mut guard = guard();
        for _ in 0..100 {
            assert!(!guard.memory_growing(1 << 20, 3 << 20, Some(2 << 20)).unwrap());
            assert!(!guard.table_growing(10, 80, Some(20)).unwrap());
        }
        assert!(guard.memory_growing(0, 4 << 20, None).unwrap());
        assert!(guard.table_growing(0, 100, None).unwrap());
        assert_eq!(guard.exceeded, None);
    }
}
