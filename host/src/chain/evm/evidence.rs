//! The judge: what the chain says about a payment, from what nodes answered. Pure.
//!
//! A missing receipt is never evidence. A receipt counts only while its block is the canonical one
//! of its height, and ends a payment only where the network's rule says that blocks are final.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolEvent as _;
use serde_json::json;

use super::transaction::Erc20;
use crate::domain::TransactionKind;

/// A receipt as a node gave it, reduced to what is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) tx_hash: B256,
    pub(super) block_number: u64,
    pub(super) block_hash: B256,
    pub(super) from: Address,
    pub(super) succeeded: bool,
    pub(super) logs: Vec<Log>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) address: Address,
    pub(super) topics: Vec<B256>,
    pub(super) data: Vec<u8>,
}

/// One transaction that was signed for the payment, and its receipt if a node has one.
#[derive(Debug, Clone)]
pub(super) struct Sighting {
    pub(super) tx_hash: B256,
    pub(super) kind: TransactionKind,
    pub(super) receipt: Option<Receipt>,
}

/// What the payment should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) account: Address,
    pub(super) destination: Address,
    /// None for the chain's own coin.
    pub(super) contract: Option<Address>,
    pub(super) units: U256,
}

/// The canonical chain as the nodes agree on it: the hashes of the blocks in question, and up to
/// where it is final.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CanonicalView {
    pub(super) head: u64,
    /// None while no block is final.
    pub(super) final_up_to: Option<u64>,
    pub(super) hashes: BTreeMap<u64, B256>,
}

/// Where a transaction was mined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inclusion {
    pub(super) tx_hash: B256,
    pub(super) block_number: u64,
    pub(super) block_hash: B256,
    /// 1 when its block is the head.
    pub(super) depth: u64,
}

/// What the mined transaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It paid exactly the amount.
    Paid,
    Reverted,
    /// It succeeded and moved nothing to the destination: an ERC-20 that answered `false`.
    NotPaid,
    /// It moved another amount, as a token with a fee on transfers does. Neither CONFIRMED nor
    /// FAILED would be true, so a person has to look.
    PaidOther {
        units: U256,
    },
    /// The payment was given up and its nonce used by a transaction that pays nobody.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    /// No receipt of any signed transaction. It proves nothing.
    NotMined,
    /// There is a receipt, but its block is not, or no longer, on the canonical chain.
    Reorged {
        tx_hash: B256,
    },
    /// What the nodes say cannot be: two transactions of one nonce mined, or a receipt of another
    /// sender. Nothing is concluded from it.
    Contradictory,
    /// Mined, and not final.
    Mined(Inclusion),
    Final(Inclusion, Effect),
}

/// Judges one payment.
pub(super) fn judge(sightings: &[Sighting], expected: &Expected, view: &CanonicalView) -> Evidence {
    let mut mined: Option<(&Sighting, &Receipt, Inclusion)> = None;
    let mut reorged = None;
    for sighting in sightings {
        let Some(receipt) = &sighting.receipt else { continue };
        if receipt.tx_hash != sighting.tx_hash || receipt.from != expected.account {
            return Evidence::Contradictory;
        }
        let canonical = view.hashes.get(&receipt.block_number) == Some(&receipt.block_hash);
        if !canonical {
            reorged = Some(sighting.tx_hash);
            continue;
        }
        if mined.is_some() {
            return Evidence::Contradictory;
        }
        let inclusion = Inclusion {
            tx_hash: receipt.tx_hash,
            block_number: receipt.block_number,
            block_hash: receipt.block_hash,
            // The head was read before: the block may be newer.
            depth: view.head.saturating_sub(receipt.block_number).saturating_add(1),
        };
        mined = Some((sighting, receipt, inclusion));
    }
    match (mined, reorged) {
        (Some((sighting, receipt, inclusion)), _)
            if view.final_up_to.is_some_and(|last| inclusion.block_number <= last) =>
        {
            Evidence::Final(inclusion, effect(sighting.kind, receipt, expected))
        }
        (Some((_, _, inclusion)), _) => Evidence::Mined(inclusion),
        (None, Some(tx_hash)) => Evidence::Reorged { tx_hash },
        (None, None) => Evidence::NotMined,
    }
}

fn effect(kind: TransactionKind, receipt: &Receipt, expected: &Expected) -> Effect {
    match (kind, receipt.succeeded, expected.contract) {
        (TransactionKind::Closing, _, _) => Effect::Closed,
        (TransactionKind::Payment, false, _) => Effect::Reverted,
        // The hash commits to recipient and value, and a success moves the value.
        (TransactionKind::Payment, true, None) => Effect::Paid,
        (TransactionKind::Payment, true, Some(contract)) => {
            token_effect(receipt, expected, contract)
        }
    }
}

/// An ERC-20 may return `false` and not revert, so only its Transfer log says what moved.
fn token_effect(receipt: &Receipt, expected: &Expected, contract: Address) -> Effect {
    let mut moved: Option<U256> = None;
    let mut transfers = 0_usize;
    for log in receipt.logs.iter().filter(|log| log.address == contract) {
        let [signature, from, to] = log.topics.as_slice() else { continue };
        let ours = *signature == Erc20::Transfer::SIGNATURE_HASH
            && *from == expected.account.into_word()
            && *to == expected.destination.into_word();
        if !ours || log.data.len() != 32 {
            continue;
        }
        transfers += 1;
        moved = Some(moved.unwrap_or_default().saturating_add(U256::from_be_slice(&log.data)));
    }
    match (transfers, moved.unwrap_or_default()) {
        (1, units) if units == expected.units => Effect::Paid,
        (_, units) if units.is_zero() => Effect::NotPaid,
        (_, units) => Effect::PaidOther { units },
    }
}

/// What a person is told about a final payment that failed.
pub(super) fn failure_text(effect: Effect) -> Option<&'static str> {
    match effect {
        Effect::Reverted => Some("the transaction reverted, and that is final"),
        Effect::NotPaid => Some("the token's transfer moved nothing, and that is final"),
        Effect::Closed => Some("the payment was given up, and its nonce is used"),
        Effect::Paid | Effect::PaidOther { .. } => None,
    }
}

/// The evidence as it is kept in the withdrawal's history. `finality` names the rule that said up
/// to where blocks are final.
pub(super) fn evidence_text(
    chain_id: u64,
    finality: &str,
    view: &CanonicalView,
    inclusion: &Inclusion,
    effect: Effect,
    expected: &Expected,
) -> String {
    let (name, moved) = match effect {
        Effect::Paid => ("paid", expected.units),
        Effect::Reverted => ("reverted", U256::ZERO),
        Effect::NotPaid => ("not paid", U256::ZERO),
        Effect::PaidOther { units } => ("paid another amount", units),
        Effect::Closed => ("closed", U256::ZERO),
    };
    json!({
        "chain_id": chain_id,
        "tx_hash": format!("{:#x}", inclusion.tx_hash),
        "block_number": inclusion.block_number,
        "block_hash": format!("{:#x}", inclusion.block_hash),
        "depth": inclusion.depth,
        "finality": finality,
        "final_up_to": view.final_up_to,
        "effect": name,
        "contract": expected.contract.map(|contract| contract.to_checksum(None)),
        "base_units_moved": moved.to_string(),
    })
    .to_string()
}

#[cfg(test)]
#[path = "evidence_test.rs"]
mod tests;
