//! What was signed for a withdrawal, and what the signing rules look at.

use bigdecimal::num_bigint::BigUint;

use super::withdrawal::Withdrawal;
use super::{Timestamp, WithdrawalId};

/// What a signed transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransactionKind {
    /// It pays the withdrawal.
    Payment,
    /// It pays nobody and only uses up the nonce of a payment that was given up.
    Closing,
}

impl TransactionKind {
    pub const ALL: [Self; 2] = [Self::Payment, Self::Closing];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Payment => "PAYMENT",
            Self::Closing => "CLOSING",
        }
    }
}

/// A transaction that was just signed and is about to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSignedTransaction {
    /// `0x` and lower-case hexadecimal.
    pub hash: String,
    pub kind: TransactionKind,
    /// The bytes that any node takes.
    pub raw: Vec<u8>,
    pub gas_limit: u64,
    /// In wei a unit of gas.
    pub fee_max_per_gas: u128,
    pub priority_fee_max_per_gas: u128,
    /// What the account may lose in the chain's own coin at most: value and fees, in wei.
    pub native_cost_max: BigUint,
    /// What it moves of the asset, in base units.
    pub asset_units: BigUint,
}

/// A signed transaction as it is kept, for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTransaction {
    pub withdrawal: WithdrawalId,
    pub chain_id: u64,
    /// The paying account, `0x` and lower-case hexadecimal.
    pub account: String,
    pub nonce: u64,
    pub signed: NewSignedTransaction,
    pub signed_at: Timestamp,
}

/// A withdrawal with everything that was signed for it, oldest first. All have one nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    pub withdrawal: Withdrawal,
    pub transactions: Vec<SignedTransaction>,
    /// Set if it was given up after something was signed.
    pub closing: Option<Closing>,
}

/// That a payment is given up: its nonce is to be used up by a transaction that pays nobody. The chain
/// decides which of the two is mined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    pub reason: String,
    /// Who asked for it.
    pub asked_by: String,
    pub asked_at: Timestamp,
}

/// An end that the chain gave evidence for, and may still take back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentWatch {
    pub withdrawal: WithdrawalId,
    pub chain_id: u64,
    pub tx_hash: String,
    pub block_number: u64,
    pub block_hash: String,
    /// When the chain is final up to this block, the watch is over.
    pub until_block: u64,
}

/// What the signing rules may look at, read in the transaction that will store the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningSituation {
    pub withdrawal: Withdrawal,
    /// Everything that was signed for this withdrawal, oldest first.
    pub earlier: Vec<SignedTransaction>,
    /// The nonce that is bound to this withdrawal.
    pub nonce: u64,
    /// Of the account's other payments that are not final: what they may still cost in the
    /// chain's own coin, in wei.
    pub in_flight_native: BigUint,
    /// Of the account's other payments of the same asset that are not final: base units.
    pub in_flight_asset: BigUint,
    /// The fees that the account's transactions of the last 24 hours may cost, in wei.
    pub fees_of_the_day: BigUint,
}

/// Why the host does not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningRefusal {
    /// A rule forbids this request, now and later.
    #[error("refused by rule {rule}: {reason}")]
    Refused { rule: &'static str, reason: String },
    /// Something outside must change first.
    #[error("not now ({rule}): {reason}")]
    Wait { rule: &'static str, reason: String },
    /// The key could not be reached.
    #[error("the key is unavailable: {0}")]
    Unavailable(String),
}
