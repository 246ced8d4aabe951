//! What may be signed to close a payment that was given up: nothing, to oneself, within the caps.

use alloy_primitives::U256;

use super::convert::biguint;
use super::rules::{
    Balances, Fees, Terms, check_caps, check_earlier, refused, replacement_fee_min, rule, wait,
};
use super::transaction::ApprovedTransaction;
use crate::chain::config::FeeCaps;
use crate::domain::{SigningRefusal, SigningSituation, TransactionKind};

/// What the host proposes for a closing transaction: the fees are raised to what a replacement needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClosingFees {
    pub(super) gas_limit: u64,
    pub(super) per_gas: u128,
    pub(super) priority_per_gas: u128,
}

/// The transaction that uses up the nonce of a payment that was given up: nothing, to oneself, with
/// fees that replace everything that was signed before. The caps hold for it too.
pub(super) fn check_closing(
    terms: &Terms<'_>,
    caps: &FeeCaps,
    balances: &Balances,
    situation: &SigningSituation,
    proposed: &ClosingFees,
) -> Result<ApprovedTransaction, SigningRefusal> {
    if situation.earlier.is_empty() {
        return Err(refused(rule::REPLACEMENT, "nothing was signed yet"));
    }
    check_earlier(terms, situation)?;
    let rise = |old: u128| {
        let reason = "the fees cannot rise further";
        replacement_fee_min(old).ok_or_else(|| refused(rule::REPLACEMENT_FEE, reason))
    };
    let mut fees = Fees {
        gas_limit: proposed.gas_limit,
        per_gas: proposed.per_gas,
        priority_per_gas: proposed.priority_per_gas,
    };
    for earlier in &situation.earlier {
        fees.per_gas = fees.per_gas.max(rise(earlier.signed.fee_max_per_gas)?);
        let least = rise(earlier.signed.priority_fee_max_per_gas)?;
        fees.priority_per_gas = fees.priority_per_gas.max(least);
    }
    fees.per_gas = fees.per_gas.max(fees.priority_per_gas);
    let total = check_caps(caps, situation, &fees)?;
    if biguint(total) + &situation.in_flight_native > biguint(balances.native) {
        let reason = format!("{} wei does not cover {total} for closing", balances.native);
        return Err(wait(rule::BALANCE_NATIVE, reason));
    }
    Ok(ApprovedTransaction {
        kind: TransactionKind::Closing,
        chain_id: terms.chain_id,
        nonce: situation.nonce,
        to: terms.account,
        value: U256::ZERO,
        data: Vec::new(),
        gas_limit: fees.gas_limit,
        fee_max_per_gas: fees.per_gas,
        priority_fee_max_per_gas: fees.priority_per_gas,
        native_cost_max: total,
        asset_units: U256::ZERO,
    })
}
