//! What is offered for the gas (EIP-1559). The host has the last word: it knows the caps.

use ruint::aliases::U256;
use serde_json::{Value, json};
use tidegate_plugin::{Failure, retry, signer::SignedTransaction};

use crate::rpc::{Nodes, quantity};

/// A minute or two on most networks: enough that one odd block does not decide.
const HISTORY_BLOCKS: &str = "0xa";

/// In wei a unit of gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fees {
    pub(crate) max_fee: U256,
    pub(crate) priority_fee: U256,
}

impl Fees {
    pub(crate) fn of(signed: &SignedTransaction) -> Option<Self> {
        Some(Self {
            max_fee: signed.max_fee_per_gas.parse().ok()?,
            priority_fee: signed.max_priority_fee_per_gas.parse().ok()?,
        })
    }

    /// The median of what recent blocks were paid above the base fee, and room for the base fee to
    /// double: six full blocks in a row.
    pub(crate) fn suggested(nodes: &Nodes, priority_fee_min: u64) -> Result<Self, Failure> {
        let history =
            nodes.ask("eth_feeHistory", &json!([HISTORY_BLOCKS, "latest", [50]])).map_err(retry)?;
        Self::of_history(&history, U256::from(priority_fee_min))
            .ok_or_else(|| retry("eth_feeHistory: the answer holds no base fee"))
    }

    fn of_history(history: &Value, priority_fee_min: U256) -> Option<Self> {
        // The last one is that of the block to come.
        let base_fee = history["baseFeePerGas"].as_array()?.last().and_then(quantity)?;
        let mut rewards: Vec<U256> = history["reward"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|block| quantity(&block[0]))
            .collect();
        rewards.sort_unstable();
        let median = rewards.get(rewards.len() / 2).copied().unwrap_or_default();
        let priority_fee = median.max(priority_fee_min);
        let max_fee = base_fee.checked_mul(U256::from(2))?.checked_add(priority_fee)?;
        Some(Self { max_fee, priority_fee })
    }

    /// What a replacement must offer at least, and no less than what the market wants now.
    pub(crate) fn raised(self, suggested: Option<Self>) -> Option<Self> {
        let (max_fee, priority_fee) = (bumped(self.max_fee)?, bumped(self.priority_fee)?);
        let raised = suggested.map_or(Self { max_fee, priority_fee }, |suggested| Self {
            max_fee: max_fee.max(suggested.max_fee),
            priority_fee: priority_fee.max(suggested.priority_fee),
        });
        // A tip above the whole fee is malformed.
        Some(Self { max_fee: raised.max_fee.max(raised.priority_fee), ..raised })
    }
}

/// max(ceil(1.125 × old), old + 1): geth wants 10 % rounded down and more than before, reth 10 %
/// rounded up. A wei less, and every replacement is refused.
fn bumped(old: U256) -> Option<U256> {
    let eighth = old.checked_add(U256::from(7))? / U256::from(8);
    old.checked_add(eighth.max(U256::from(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wei(amount: u64) -> U256 {
        U256::from(amount)
    }

    #[test]
    fn a_bump_is_an_eighth_rounded_up_and_at_least_one() {
        for (old, new) in [
            (0, 1),
            (1, 2),
            (7, 8),
            (8, 9),
            (9, 11),
            (10, 12),
            (16, 18),
            (1000, 1125),
            (1001, 1127),
        ] {
            assert_eq!(bumped(wei(old)), Some(wei(new)), "{old}");
        }
        assert_eq!(bumped(U256::MAX), None);
    }

    #[test]
    fn fees_follow_the_next_base_fee_and_the_median_reward() {
        let history = json!({
            "baseFeePerGas": ["0x1", "0x2", "0x3", "0x64"],
            "reward": [["0x9"], ["0x1"], ["0x5"]],
        });
        let fees = Fees::of_history(&history, wei(2)).unwrap();
        assert_eq!(fees, Fees { max_fee: wei(205), priority_fee: wei(5) });
    }

    #[test]
    fn empty_blocks_do_not_make_the_offer_zero() {
        for reward in [json!([["0x0"], ["0x0"]]), json!([]), json!(null)] {
            let history = json!({ "baseFeePerGas": ["0xa"], "reward": reward });
            let fees = Fees::of_history(&history, wei(3)).unwrap();
            assert_eq!(fees, Fees { max_fee: wei(23), priority_fee: wei(3) });
        }
    }

    #[test]
    fn a_history_without_a_base_fee_is_none() {
        for history in [
            json!(null),
            json!({}),
            json!({ "baseFeePerGas": [] }),
            json!({ "baseFeePerGas": ["?"] }),
        ] {
            assert_eq!(Fees::of_history(&history, wei(1)), None);
        }
    }

    #[test]
    fn a_replacement_offers_the_bump_or_the_market_whichever_is_more() {
        let old = Fees { max_fee: wei(1000), priority_fee: wei(8) };
        let market = Fees { max_fee: wei(1100), priority_fee: wei(20) };
        assert_eq!(old.raised(None), Some(Fees { max_fee: wei(1125), priority_fee: wei(9) }));
        assert_eq!(
            old.raised(Some(market)),
            Some(Fees { max_fee: wei(1125), priority_fee: wei(20) })
        );
        let market = Fees { max_fee: wei(9), priority_fee: wei(5000) };
        assert_eq!(
            old.raised(Some(market)),
            Some(Fees { max_fee: wei(5000), priority_fee: wei(5000) })
        );
    }
}
