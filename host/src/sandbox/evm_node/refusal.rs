//! Why a node does not take a transaction, and how each client says it.

use alloy_primitives::{Address, U256};

/// A refusal, with what the text quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    Undecodable(String),
    TypeNotSupported,
    NotReplayProtected,
    Oversized {
        bytes: usize,
        limit: usize,
    },
    WrongChain {
        have: u64,
        want: u64,
    },
    InvalidSender,
    AlreadyKnown,
    NonceTooLow {
        next: u64,
        given: u64,
    },
    /// Only where the client keeps no transactions for later.
    NonceTooHigh {
        sender: Address,
        next: u64,
        given: u64,
    },
    NonceMax {
        sender: Address,
    },
    ReplacementUnderpriced,
    TipAboveFee {
        sender: Address,
        tip: u128,
        fee: u128,
    },
    Underpriced {
        tip: u128,
        needed: u128,
    },
    IntrinsicGas {
        gas: u64,
        needed: u64,
    },
    FloorGas {
        gas: u64,
        needed: u64,
    },
    ExceedsBlockGas {
        gas: u64,
        limit: u64,
    },
    InsufficientFunds {
        balance: U256,
        cost: U256,
    },
    /// The sum with what is queued is too much.
    InsufficientFundsQueued {
        balance: U256,
        queued: U256,
        cost: U256,
    },
    FeeAboveCap {
        fee_wei: U256,
        cap_wei: U256,
    },
    PoolFull,
    AccountLimit {
        limit: usize,
    },
}

/// Whose words a node speaks, and whose rules it follows where they differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientProfile {
    #[default]
    Geth,
}

impl ClientProfile {
    /// `web3_clientVersion`.
    pub(super) const fn version(self) -> &'static str {
        match self {
            Self::Geth => "Geth/v1.16.0-stand-in/linux-amd64/go1.24",
        }
    }

    /// By how many percent both fees must rise, rounded down as geth does it.
    pub(super) const fn bump_percent(self) -> u128 {
        match self {
            Self::Geth => 10,
        }
    }

    /// Whether a transaction above a gap is kept until the gap is closed.
    pub(super) const fn keeps_gapped(self) -> bool {
        match self {
            Self::Geth => true,
        }
    }

    /// The least tip, in wei.
    pub(super) const fn tip_min(self) -> u128 {
        match self {
            Self::Geth => 1,
        }
    }

    /// The most that one transaction may cost in fees, in wei: geth's `rpc.txfeecap`.
    pub(super) const fn fee_cap_wei(self) -> u128 {
        match self {
            Self::Geth => 1_000_000_000_000_000_000,
        }
    }

    /// The JSON-RPC code and text of a refusal.
    pub(super) fn answer(self, refusal: &Refusal) -> (i64, String) {
        match self {
            Self::Geth => (-32000, geth(refusal)),
        }
    }
}

fn geth(refusal: &Refusal) -> String {
    const FUNDS: &str = "insufficient funds for gas * price + value";
    match refusal {
        Refusal::Undecodable(reason) => format!("rlp: {reason}"),
        Refusal::TypeNotSupported => "transaction type not supported".to_owned(),
        Refusal::NotReplayProtected => {
            "only replay-protected (EIP-155) transactions allowed over RPC".to_owned()
        }
        Refusal::Oversized { bytes, limit } => {
            format!("oversized data: transaction size {bytes}, limit {limit}")
        }
        Refusal::WrongChain { have, want } => {
            format!("invalid sender: invalid chain id for signer: have {have} want {want}")
        }
        Refusal::InvalidSender => "invalid sender: invalid transaction v, r, s values".to_owned(),
        Refusal::AlreadyKnown => "already known".to_owned(),
        Refusal::NonceTooLow { next, given } => {
            format!("nonce too low: next nonce {next}, tx nonce {given}")
        }
        Refusal::NonceTooHigh { sender, next, given } => {
            format!("nonce too high: address {sender}, tx: {given} state: {next}")
        }
        Refusal::NonceMax { sender } => {
            format!("nonce has max value: address {sender}, nonce: {}", u64::MAX)
        }
        Refusal::ReplacementUnderpriced => "replacement transaction underpriced".to_owned(),
        Refusal::TipAboveFee { sender, tip, fee } => format!(
            "max priority fee per gas higher than max fee per gas: address {sender}, maxPriorityFeePerGas: {tip}, maxFeePerGas: {fee}"
        ),
        Refusal::Underpriced { tip, needed } => {
            format!("transaction underpriced: gas tip cap {tip}, minimum needed {needed}")
        }
        Refusal::IntrinsicGas { gas, needed } => {
            format!("intrinsic gas too low: gas {gas}, minimum needed {needed}")
        }
        Refusal::FloorGas { gas, needed } => {
            format!("insufficient gas for floor data gas cost: gas {gas}, minimum needed {needed}")
        }
        Refusal::ExceedsBlockGas { .. } => "exceeds block gas limit".to_owned(),
        Refusal::InsufficientFunds { balance, cost } => format!(
            "{FUNDS}: balance {balance}, tx cost {cost}, overshot {}",
            cost.saturating_sub(*balance)
        ),
        Refusal::InsufficientFundsQueued { balance, queued, cost } => format!(
            "{FUNDS}: balance {balance}, queued cost {queued}, tx cost {cost}, overshot {}",
            queued.saturating_add(*cost).saturating_sub(*balance)
        ),
        Refusal::FeeAboveCap { fee_wei, cap_wei } => format!(
            "tx fee ({} ether) exceeds the configured cap ({} ether)",
            ether(*fee_wei),
            ether(*cap_wei)
        ),
        Refusal::PoolFull => "txpool is full".to_owned(),
        Refusal::AccountLimit { limit } => {
            format!("account limit exceeded: pooled {limit} txs")
        }
    }
}

/// With two places, as geth prints it.
fn ether(wei: U256) -> String {
    let hundredths = wei / U256::from(10_000_000_000_000_000_u64);
    let hundred = U256::from(100);
    format!("{}.{:0>2}", hundredths / hundred, hundredths % hundred)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geth_says_it_in_these_words() {
        let one = U256::from(1);
        let five = U256::from(5);
        for (refusal, text) in [
            (Refusal::AlreadyKnown, "already known"),
            (Refusal::NonceTooLow { next: 2, given: 1 }, "nonce too low: next nonce 2, tx nonce 1"),
            (
                Refusal::InsufficientFundsQueued { balance: five, queued: five, cost: one },
                "insufficient funds for gas * price + value: balance 5, queued cost 5, tx cost 1, overshot 1",
            ),
            (
                Refusal::FeeAboveCap {
                    fee_wei: U256::from(2_100_000_000_000_000_000_u64),
                    cap_wei: U256::from(1_000_000_000_000_000_000_u64),
                },
                "tx fee (2.10 ether) exceeds the configured cap (1.00 ether)",
            ),
        ] {
            assert_eq!(ClientProfile::Geth.answer(&refusal), (-32000, text.to_owned()));
        }
    }
}
