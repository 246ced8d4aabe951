//! The clients whose words and rules a node can have, as data: a file each.
//!
//! `differences.rs` lists how the profiles of anvil and hardhat differ from the real nodes, and a
//! test holds that list against them. The others are written after the clients' sources.

mod anvil;
mod arbitrum;
mod besu;
mod erigon;
mod geth;
mod hardhat;
mod nethermind;
mod reth;

#[cfg(test)]
mod differences;
#[cfg(test)]
mod real_node;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::refusal::{Kind, Refusal};
use super::transaction::Decoded;

/// Whose words a node speaks, and whose rules it follows where they differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientProfile {
    #[default]
    Geth,
    Reth,
    Nethermind,
    /// As it spoke until 2025.
    NethermindOld,
    Erigon,
    Besu,
    /// A sequencer without a pool: a nonce is the next one or refused.
    Arbitrum,
    Anvil,
    Hardhat,
}

/// A client's rules and words.
#[derive(Debug)]
pub(super) struct Profile {
    /// `web3_clientVersion`.
    pub(super) version: &'static str,
    /// None where nothing that waits can be replaced.
    pub(super) replacement: Option<Replacement>,
    pub(super) gaps: Gaps,
    pub(super) funds: Funds,
    /// Transactions of all accounts that the pool holds.
    pub(super) pool_max: usize,
    /// Transactions of one account that the pool holds.
    pub(super) account_max: usize,
    /// The least tip, in wei.
    pub(super) tip_min: u128,
    /// Whether a fee below the next block's base fee is refused, rather than kept until it falls.
    pub(super) refuses_below_base_fee: bool,
    /// The most that one transaction may cost in fees, in wei: geth's `rpc.txfeecap`.
    pub(super) fee_cap_wei: Option<u128>,
    /// Whether EIP-7623's floor is judged before the pool.
    pub(super) knows_floor_gas: bool,
    /// For how many blocks bytes that were evicted are still called known.
    pub(super) remembers_blocks: u64,
    /// The first text of a kind counts; a kind without one is said in geth's words.
    pub(super) texts: &'static [Text],
}

/// How a client says something: the JSON-RPC code, and the words with what they quote.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text {
    pub(super) kind: Kind,
    pub(super) code: i64,
    pub(super) words: &'static str,
}

const fn text(kind: Kind, code: i64, words: &'static str) -> Text {
    Text { kind, code, words }
}

/// What a replacement must offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Replacement {
    pub(super) bump: Bump,
    /// Whether the tip must rise as well as the fee.
    pub(super) both: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bump {
    /// At least so many percent, rounded down, and more than before.
    PercentDownAndMore(u128),
    /// At least so many percent, rounded up.
    PercentUp(u128),
    /// More than before.
    More,
}

impl Bump {
    /// The least fee that replaces `old`.
    pub(super) fn least(self, old: u128) -> u128 {
        match self {
            Self::PercentDownAndMore(percent) => {
                (old.saturating_mul(100 + percent) / 100).max(old.saturating_add(1))
            }
            Self::PercentUp(percent) => old.saturating_mul(100 + percent).div_ceil(100),
            Self::More => old.saturating_add(1),
        }
    }
}

/// What is done with a nonce that leaves a gap below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gaps {
    /// Kept until the gap is closed.
    Keep,
    /// Kept if it is at most so far above the account's nonce.
    KeepUpTo(u64),
    Refuse,
}

/// What the balance is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Funds {
    /// The sum of everything of the account that waits.
    Sum,
    /// Each transaction by itself.
    Each,
}

impl ClientProfile {
    #[cfg(test)]
    pub(super) const ALL: [Self; 9] = [
        Self::Geth,
        Self::Reth,
        Self::Nethermind,
        Self::NethermindOld,
        Self::Erigon,
        Self::Besu,
        Self::Arbitrum,
        Self::Anvil,
        Self::Hardhat,
    ];

    pub(super) const fn data(self) -> &'static Profile {
        match self {
            Self::Geth => &geth::PROFILE,
            Self::Reth => &reth::PROFILE,
            Self::Nethermind => &nethermind::PROFILE,
            Self::NethermindOld => &nethermind::OLD,
            Self::Erigon => &erigon::PROFILE,
            Self::Besu => &besu::PROFILE,
            Self::Arbitrum => &arbitrum::PROFILE,
            Self::Anvil => &anvil::PROFILE,
            Self::Hardhat => &hardhat::PROFILE,
        }
    }

    /// The JSON-RPC code and text of a refusal.
    pub(super) fn answer(self, refusal: &Refusal) -> (i64, String) {
        let said = |texts: &'static [Text]| texts.iter().find(|text| text.kind == refusal.kind);
        match said(self.data().texts).or_else(|| said(geth::PROFILE.texts)) {
            Some(text) => (text.code, refusal.fill(text.words)),
            None => (-32000, format!("{:?}", refusal.kind)),
        }
    }
}

impl Replacement {
    /// None where it is enough, else the field that is short, and the least that would do.
    pub(super) fn shortfall(self, new: &Decoded, old: &Decoded) -> Option<(&'static str, u128)> {
        let short = |field, new: u128, old: u128| {
            let least = self.bump.least(old);
            (new < least).then_some((field, least))
        };
        let fee = short("maxFeePerGas", new.fee_max(), old.fee_max());
        let tip = || short("maxPriorityFeePerGas", new.tip_max(), old.tip_max());
        fee.or_else(|| self.both.then(tip).flatten())
    }
}
