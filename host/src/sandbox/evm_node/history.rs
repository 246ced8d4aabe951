//! A value that changes from block to block, with its past.

use alloy_primitives::U256;

/// The values after the blocks that changed it, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    changes: Vec<(u64, U256)>,
}

impl History {
    pub(super) fn latest(&self) -> U256 {
        self.changes.last().map_or(U256::ZERO, |(_, value)| *value)
    }

    /// The value after `block`.
    pub(super) fn at(&self, block: u64) -> U256 {
        let known = self.changes.partition_point(|(changed, _)| *changed <= block);
        known.checked_sub(1).map_or(U256::ZERO, |last| self.changes[last].1)
    }

    /// Sets the value from `block` on, which is not before the last change.
    pub(super) fn set(&mut self, block: u64, value: U256) {
        match self.changes.last_mut() {
            Some((changed, last)) if *changed == block => *last = value,
            Some(_) | None => self.changes.push((block, value)),
        }
    }

    /// Adds to the value at all times, as if the genesis had said so. A gift from outside the
    /// chain has no block of its own, and so no reorganisation can take it away.
    pub(super) fn endow(&mut self, amount: U256) {
        if self.changes.first().is_none_or(|(block, _)| *block != 0) {
            self.changes.insert(0, (0, U256::ZERO));
        }
        for (_, value) in &mut self.changes {
            *value = value.saturating_add(amount);
        }
    }

    pub(super) fn is_endowed(&self) -> bool {
        self.changes.first().is_some_and(|(block, value)| *block == 0 && !value.is_zero())
    }

    /// Forgets what happened in `block` and later.
    pub(super) fn rewind(&mut self, block: u64) {
        // The endowment of block 0 is not a change of the chain's.
        let kept = self.changes.partition_point(|(changed, _)| *changed < block.max(1));
        self.changes.truncate(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_at_every_block_and_can_be_taken_back() {
        let mut history = History::default();
        assert_eq!((history.latest(), history.at(9)), (U256::ZERO, U256::ZERO));
        history.set(5, U256::from(1));
        history.set(5, U256::from(2));
        history.set(8, U256::from(3));
        history.endow(U256::from(10));
        let values = [0, 4, 5, 7, 8, 99].map(|block| history.at(block).to::<u64>());
        assert_eq!(values, [10, 10, 12, 12, 13, 13]);
        history.rewind(6);
        assert_eq!(history.latest(), U256::from(12));
        history.rewind(0);
        assert_eq!(history.latest(), U256::from(10));
    }
}
