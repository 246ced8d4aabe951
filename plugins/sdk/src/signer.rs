//! Signatures over the payment of this event's withdrawal, and nothing else.
//!
//! The host alone allots nonces, holds keys and decides. All transactions that it ever signs for
//! one withdrawal have the same nonce, so at most one of them can be mined. Needs
//! `grants.networks` for the withdrawal's network.

use crate::backend;

/// Why nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The manifest does not grant the network.
    #[error("the network is not granted: {0}")]
    Denied(String),
    /// A rule forbids this request, whenever it is asked again. The text names the rule.
    #[error("the host refuses to sign: {0}")]
    Refused(String),
    /// Not now: the account is frozen, its balance too low, a cap reached. Ask again later.
    #[error("the host does not sign now: {0}")]
    Wait(String),
    /// The store or the key could not be reached. Ask again; what was signed is kept.
    #[error("the signer cannot be reached: {0}")]
    Unavailable(String),
}

/// What the host knows about paying an asset on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentTerms {
    /// The number in the network's name: 1 in `eip155:1`.
    pub chain_id: u64,
    /// The account that pays for this withdrawal, as a checksummed address.
    pub account: String,
    /// The token's contract, as a checksummed address; none for the native coin.
    pub contract: Option<String>,
    /// How many decimals one unit of the asset has: 18 means that 1 is 10^18 base units.
    pub decimals: u8,
}

/// The fields of an EIP-1559 transaction. The nonce and the account are not among them: they are
/// the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The chain that it is valid on.
    pub chain_id: u64,
    /// `0x` and 40 hexadecimal digits.
    pub to: String,
    /// In wei, decimal.
    pub value: String,
    /// The call of the contract; empty for the native coin.
    pub data: Vec<u8>,
    /// How much gas it may use.
    pub gas_limit: u64,
    /// In wei a unit of gas, decimal.
    pub max_fee_per_gas: String,
    /// In wei a unit of gas, decimal.
    pub max_priority_fee_per_gas: String,
}

/// A signed transaction, as it may be sent to any node at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTransaction {
    /// The EIP-2718 envelope.
    pub raw: Vec<u8>,
    /// `0x` and 64 hexadecimal digits.
    pub hash: String,
    /// The one nonce of this withdrawal.
    pub nonce: u64,
    /// How much gas it may use.
    pub gas_limit: u64,
    /// In wei a unit of gas, decimal.
    pub max_fee_per_gas: String,
    /// In wei a unit of gas, decimal.
    pub max_priority_fee_per_gas: String,
}

/// Who pays, in what, and with how many decimals.
///
/// # Errors
/// See [`SignError`].
pub fn terms(network: &str, asset: &str) -> Result<PaymentTerms, SignError> {
    backend::terms(network, asset)
}

/// What was signed last for this withdrawal, if anything.
///
/// # Errors
/// See [`SignError`].
pub fn signed() -> Result<Option<SignedTransaction>, SignError> {
    backend::signed()
}

/// Signs the first transaction of this withdrawal. Where one was signed before, answers that one,
/// whatever is asked now. It is stored before this returns.
///
/// # Errors
/// See [`SignError`].
pub fn sign(transaction: &Transaction) -> Result<SignedTransaction, SignError> {
    backend::sign(transaction)
}

/// Signs another transaction at the same nonce, to take the place of the last one. Both fees must
/// be at least max(ceil(1.125 × old), old + 1).
///
/// # Errors
/// See [`SignError`].
pub fn sign_replacement(transaction: &Transaction) -> Result<SignedTransaction, SignError> {
    backend::sign_replacement(transaction)
}
