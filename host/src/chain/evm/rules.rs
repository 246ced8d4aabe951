//! The signing rules (DESIGN §6, rules 2, 4 and 5): what a plugin may have signed, as one pure
//! function. Rules 1 and 3 (the live event, the one nonce) are the store's, in the transaction
//! that this function is called in.
//!
//! A refusal is for ever; `Wait` is for what time or an operator can change. That a price spike
//! makes a plugin wait, and not fail the withdrawal, hangs on this difference.

use alloy_primitives::{Address, U256};

use super::convert::{parse_address, parse_decimal, stored_address, uint256};
use super::transaction::{ApprovedTransaction, transfer_call};
use crate::chain::config::FeeCaps;
use crate::domain::{BigUint, SigningRefusal, SigningSituation, TransactionKind, WithdrawalState};

/// The rules by name, as they stand in refusals, logs and the documentation.
pub(super) mod rule {
    pub(in crate::chain) const NETWORK: &str = "withdrawal.network";
    pub(in crate::chain) const STATE: &str = "withdrawal.state";
    pub(in crate::chain) const ASSET: &str = "withdrawal.asset";
    pub(in crate::chain) const AMOUNT: &str = "withdrawal.amount";
    pub(in crate::chain) const DESTINATION: &str = "withdrawal.destination";
    pub(in crate::chain) const CHAIN_ID: &str = "transaction.chain-id";
    pub(in crate::chain) const RECIPIENT: &str = "transaction.to";
    pub(in crate::chain) const VALUE: &str = "transaction.value";
    pub(in crate::chain) const DATA: &str = "transaction.data";
    pub(in crate::chain) const GAS_LIMIT: &str = "transaction.gas-limit";
    pub(in crate::chain) const FEE: &str = "transaction.max-fee-per-gas";
    pub(in crate::chain) const PRIORITY_FEE: &str = "transaction.max-priority-fee-per-gas";
    pub(in crate::chain) const FEE_CAP_GAS: &str = "fee-cap.per-gas";
    pub(in crate::chain) const FEE_CAP_TRANSACTION: &str = "fee-cap.per-transaction";
    pub(in crate::chain) const FEE_CAP_DAY: &str = "fee-cap.per-day";
    pub(in crate::chain) const REPLACEMENT: &str = "replacement.wanted";
    pub(in crate::chain) const REPLACEMENT_FEE: &str = "replacement.fees";
    pub(in crate::chain) const CLOSED: &str = "nonce.closed";
    pub(in crate::chain) const ACCOUNT: &str = "account.key";
    pub(in crate::chain) const STRANGER: &str = "account.stranger";
    pub(in crate::chain) const IN_FLIGHT: &str = "account.in-flight";
    pub(in crate::chain) const FROZEN: &str = "account.frozen";
    pub(in crate::chain) const BALANCE_NATIVE: &str = "balance.native";
    pub(in crate::chain) const BALANCE_ASSET: &str = "balance.asset";
    pub(in crate::chain) const EVENT: &str = "event.live";
    pub(in crate::chain) const NODE_CHAIN: &str = "node.chain-id";
    pub(in crate::chain) const SIGNER: &str = "signer.away";
    pub(in crate::chain) const SIGNATURE: &str = "signer.answer";
    pub(in crate::chain) const NODE_RATE_LIMIT: &str = "node.rate-limit";
}

/// Whether another account might do what this one waits with.
pub(super) fn is_of_the_account(rule: &str) -> bool {
    matches!(
        rule,
        rule::FROZEN
            | rule::STRANGER
            | rule::SIGNER
            | rule::IN_FLIGHT
            | rule::BALANCE_NATIVE
            | rule::BALANCE_ASSET
            | rule::FEE_CAP_DAY
    )
}

/// What a plugin asks to have signed, as it came: nothing in it is trusted or well-formed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionRequest {
    pub chain_id: u64,
    /// `0x` and 40 hexadecimal digits.
    pub to: String,
    /// In wei, decimal.
    pub value: String,
    pub data: Vec<u8>,
    pub gas_limit: u64,
    /// In wei a unit of gas, decimal.
    pub max_fee_per_gas: String,
    /// In wei a unit of gas, decimal.
    pub max_priority_fee_per_gas: String,
}

/// How the withdrawal's asset is paid on this network, and from which account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms<'a> {
    pub(super) network: &'a str,
    pub(super) chain_id: u64,
    pub(super) asset: &'a str,
    pub(super) account: Address,
    /// None for the chain's own coin.
    pub(super) contract: Option<Address>,
    pub(super) decimals: u8,
    /// How many of the account's transactions are mined.
    pub(super) mined: u64,
    /// The account's first nonce that may not be signed yet: so many of its transactions may wait
    /// for being mined. Nodes drop what one account sends beyond a number.
    pub(super) nonce_end: u64,
}

/// What the account has, as a node said just before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Balances {
    pub(super) native: U256,
    /// Zero for the chain's own coin.
    pub(super) token: U256,
}

/// The least gas that any transaction uses.
pub(super) const GAS_LIMIT_MIN: u64 = 21_000;

/// Whether this request may be signed for this withdrawal now, and if so, the exact transaction.
pub(super) fn check(
    terms: &Terms<'_>,
    caps: &FeeCaps,
    balances: &Balances,
    situation: &SigningSituation,
    request: &TransactionRequest,
    replace: bool,
) -> Result<ApprovedTransaction, SigningRefusal> {
    check_situation(terms, situation, replace)?;
    let payment = owed(terms, situation)?;
    check_fields(terms, &payment, request)?;
    let fees = parse_fees(request)?;
    check_replacement(situation, &fees)?;
    let fee_total = check_caps(caps, situation, &fees)?;
    let native_cost_max = payment
        .value
        .checked_add(fee_total)
        .ok_or_else(|| refused(rule::VALUE, "value and fees exceed what a chain can hold"))?;
    check_balances(terms, balances, situation, &payment, native_cost_max)?;
    Ok(ApprovedTransaction {
        kind: TransactionKind::Payment,
        chain_id: terms.chain_id,
        nonce: situation.nonce,
        to: payment.to,
        value: payment.value,
        data: payment.data,
        gas_limit: fees.gas_limit,
        fee_max_per_gas: fees.per_gas,
        priority_fee_max_per_gas: fees.priority_per_gas,
        native_cost_max,
        asset_units: payment.units,
    })
}

fn check_situation(
    terms: &Terms<'_>,
    situation: &SigningSituation,
    replace: bool,
) -> Result<(), SigningRefusal> {
    let withdrawal = &situation.withdrawal;
    if withdrawal.request.network.as_str() != terms.network {
        return Err(refused(rule::NETWORK, "the withdrawal is on another network"));
    }
    if withdrawal.request.asset != terms.asset {
        return Err(refused(rule::ASSET, "the withdrawal is of another asset"));
    }
    match (&withdrawal.state, replace) {
        (WithdrawalState::Requested, _) | (WithdrawalState::Broadcasted { .. }, true) => {}
        (WithdrawalState::Broadcasted { .. }, false)
        | (WithdrawalState::Confirmed { .. } | WithdrawalState::Failed { .. }, _) => {
            let status = withdrawal.state.status();
            return Err(refused(rule::STATE, format!("the withdrawal is {status}")));
        }
    }
    if situation.earlier.is_empty() == replace {
        let reason = if replace { "nothing was signed yet" } else { "one was signed before" };
        return Err(refused(rule::REPLACEMENT, reason));
    }
    if situation.earlier.is_empty() && situation.nonce < terms.mined {
        let reason = format!(
            "the chain has used nonce {}, which was to be this withdrawal's: the key is used \
             elsewhere, or the store was restored from a backup",
            situation.nonce
        );
        return Err(wait(rule::STRANGER, reason));
    }
    if situation.earlier.is_empty() && situation.nonce >= terms.nonce_end {
        let reason = format!("nonce {} waits until earlier ones are mined", situation.nonce);
        return Err(wait(rule::IN_FLIGHT, reason));
    }
    check_earlier(terms, situation)?;
    if situation.earlier.iter().any(|it| it.signed.kind == TransactionKind::Closing) {
        return Err(refused(rule::CLOSED, "the payment was given up"));
    }
    Ok(())
}

fn check_earlier(terms: &Terms<'_>, situation: &SigningSituation) -> Result<(), SigningRefusal> {
    for earlier in &situation.earlier {
        // The store binds the nonce; that it is one for ever is worth looking at twice.
        if earlier.nonce != situation.nonce || earlier.chain_id != terms.chain_id {
            return Err(refused(rule::ACCOUNT, "an earlier signature has another nonce or chain"));
        }
        if earlier.account != stored_address(terms.account) {
            let reason = format!("the key of {}, which signed first, is not here", earlier.account);
            return Err(wait(rule::ACCOUNT, reason));
        }
    }
    Ok(())
}

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
    if super::convert::biguint(total) + &situation.in_flight_native
        > super::convert::biguint(balances.native)
    {
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

/// The only call that pays the withdrawal.
struct OwedPayment {
    to: Address,
    value: U256,
    data: Vec<u8>,
    units: U256,
}

fn owed(terms: &Terms<'_>, situation: &SigningSituation) -> Result<OwedPayment, SigningRefusal> {
    let request = &situation.withdrawal.request;
    let units = request
        .amount
        .base_units(terms.decimals)
        .map_err(|error| refused(rule::AMOUNT, error.to_string()))?;
    let units = uint256(&units)
        .ok_or_else(|| refused(rule::AMOUNT, "the amount exceeds what a chain can hold"))?;
    let destination = parse_address(&request.destination_address)
        .filter(|address| !address.is_zero())
        .ok_or_else(|| refused(rule::DESTINATION, "the destination is no address to pay to"))?;
    Ok(match terms.contract {
        None => OwedPayment { to: destination, value: units, data: Vec::new(), units },
        Some(contract) => OwedPayment {
            to: contract,
            value: U256::ZERO,
            data: transfer_call(destination, units),
            units,
        },
    })
}

fn check_fields(
    terms: &Terms<'_>,
    owed: &OwedPayment,
    request: &TransactionRequest,
) -> Result<(), SigningRefusal> {
    if request.chain_id != terms.chain_id {
        return Err(refused(rule::CHAIN_ID, format!("the chain is {}", terms.chain_id)));
    }
    let to = parse_address(&request.to).ok_or_else(|| refused(rule::RECIPIENT, "no address"))?;
    if to != owed.to {
        let what = if terms.contract.is_some() { "the token's contract" } else { "destination" };
        return Err(refused(rule::RECIPIENT, format!("it is not the withdrawal's own {what}")));
    }
    let value = parse_decimal(&request.value)
        .ok_or_else(|| refused(rule::VALUE, "no decimal number of wei"))?;
    if value != owed.value {
        return Err(refused(rule::VALUE, format!("the withdrawal's own is {}", owed.value)));
    }
    // The whole of it: a tail behind the arguments is ignored by most contracts, and read by some.
    if request.data != owed.data {
        let what = if terms.contract.is_some() { "transfer(destination, amount)" } else { "empty" };
        return Err(refused(rule::DATA, format!("the withdrawal's own is {what}, exactly")));
    }
    Ok(())
}

struct Fees {
    gas_limit: u64,
    per_gas: u128,
    priority_per_gas: u128,
}

fn parse_fees(request: &TransactionRequest) -> Result<Fees, SigningRefusal> {
    let parse = |rule, text: &str| {
        parse_decimal(text)
            .and_then(|fee| u128::try_from(fee).ok())
            .ok_or_else(|| refused(rule, "no decimal number of wei below 2^128"))
    };
    let per_gas = parse(rule::FEE, &request.max_fee_per_gas)?;
    let priority_per_gas = parse(rule::PRIORITY_FEE, &request.max_priority_fee_per_gas)?;
    if priority_per_gas > per_gas {
        return Err(refused(rule::PRIORITY_FEE, "it is above max-fee-per-gas"));
    }
    Ok(Fees { gas_limit: request.gas_limit, per_gas, priority_per_gas })
}

/// The least fee with which every node takes a replacement of one with the fee `old`: geth wants
/// 10 % rounded down and more than before, reth 10 % rounded up. None if it does not fit.
pub(super) fn replacement_fee_min(old: u128) -> Option<u128> {
    // 1.125·old, rounded up, is old + ceil(old / 8), which cannot overflow on the way.
    old.checked_add(old.div_ceil(8).max(1))
}

fn check_replacement(situation: &SigningSituation, fees: &Fees) -> Result<(), SigningRefusal> {
    // Against all of them: a node may hold any one, not only the last.
    for earlier in &situation.earlier {
        let pairs = [
            ("max-fee-per-gas", earlier.signed.fee_max_per_gas, fees.per_gas),
            (
                "max-priority-fee-per-gas",
                earlier.signed.priority_fee_max_per_gas,
                fees.priority_per_gas,
            ),
        ];
        for (field, old, new) in pairs {
            let Some(least) = replacement_fee_min(old) else {
                return Err(refused(rule::REPLACEMENT_FEE, format!("{field} cannot rise further")));
            };
            if new < least {
                let reason = format!("{field} must be at least {least}, for it was {old}");
                return Err(refused(rule::REPLACEMENT_FEE, reason));
            }
        }
    }
    Ok(())
}

/// Answers what the transaction may cost in fees.
fn check_caps(
    caps: &FeeCaps,
    situation: &SigningSituation,
    fees: &Fees,
) -> Result<U256, SigningRefusal> {
    if fees.gas_limit < GAS_LIMIT_MIN {
        return Err(refused(rule::GAS_LIMIT, format!("it is below {GAS_LIMIT_MIN}")));
    }
    if fees.gas_limit > caps.gas_limit_max {
        return Err(refused(rule::GAS_LIMIT, format!("it is above {}", caps.gas_limit_max)));
    }
    if fees.per_gas > caps.fee_max_per_gas {
        let reason = format!("{} is above {} a unit of gas", fees.per_gas, caps.fee_max_per_gas);
        return Err(wait(rule::FEE_CAP_GAS, reason));
    }
    // Below 2^192: it cannot overflow.
    let total = U256::from(fees.gas_limit) * U256::from(fees.per_gas);
    if total > U256::from(caps.fee_max_per_transaction) {
        let reason = format!("{total} wei is above {}", caps.fee_max_per_transaction);
        return Err(wait(rule::FEE_CAP_TRANSACTION, reason));
    }
    // A replacement is counted beside what it replaces: the sum is too high rather than too low.
    let day = &situation.fees_of_the_day + super::convert::biguint(total);
    if day > BigUint::from(caps.fee_max_per_day) {
        let reason = format!("{day} wei in 24 hours would be above {}", caps.fee_max_per_day);
        return Err(wait(rule::FEE_CAP_DAY, reason));
    }
    Ok(total)
}

fn check_balances(
    terms: &Terms<'_>,
    balances: &Balances,
    situation: &SigningSituation,
    owed: &OwedPayment,
    native_cost_max: U256,
) -> Result<(), SigningRefusal> {
    let covers = |rule, has: U256, in_flight: &BigUint, costs: U256| {
        let needs = in_flight + super::convert::biguint(costs);
        if needs > super::convert::biguint(has) {
            let reason = format!("{has} does not cover {costs} and {in_flight} in flight");
            return Err(wait(rule, reason));
        }
        Ok(())
    };
    covers(rule::BALANCE_NATIVE, balances.native, &situation.in_flight_native, native_cost_max)?;
    match terms.contract {
        None => Ok(()),
        Some(_) => {
            covers(rule::BALANCE_ASSET, balances.token, &situation.in_flight_asset, owed.units)
        }
    }
}

pub(super) fn refused(rule: &'static str, reason: impl Into<String>) -> SigningRefusal {
    SigningRefusal::Refused { rule, reason: reason.into() }
}

pub(super) fn wait(rule: &'static str, reason: impl Into<String>) -> SigningRefusal {
    SigningRefusal::Wait { rule, reason: reason.into() }
}

#[cfg(test)]
#[path = "rules_test.rs"]
mod tests;
