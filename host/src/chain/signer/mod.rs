//! Who signs: a key in an encrypted file (`keystore`), or a service that keeps it (`web3signer`).
//!
//! A signer is asked to sign a transaction that every rule allowed, and nothing of what it answers
//! is believed: `evm::transaction` checks hash, form and account before anyone may use it.

mod keystore;
mod locked;
mod web3signer;

use std::fmt;

use alloy_primitives::{Address, Signature};
use async_trait::async_trait;

pub use keystore::{KeystoreError, Passphrase, create_keystore, keystore_address};
pub use web3signer::{ClientFiles, RemoteSignerConfig, RemoteSignerError};

pub(super) use keystore::AccountKey;
pub(super) use web3signer::RemoteSigner;

/// What signs for one account. Another kind, such as a key service of a cloud, is another
/// implementation, and nothing else.
#[async_trait]
pub(super) trait Signer: fmt::Debug + Send + Sync {
    /// The account that it signs for. Known without asking: a host starts while its signer is
    /// away.
    fn address(&self) -> Address;

    /// Signs the keccak-256 hash of `unsigned`, a transaction as it is encoded for signing.
    ///
    /// It is called within the store's transaction that allots the nonce, so it must answer
    /// within [`SIGN_MAX`], or not at all. Asked again about the same bytes, it may give another
    /// signature that is as good.
    ///
    /// # Errors
    /// Nothing was signed, as far as anyone knows. What a signer made and could not deliver is
    /// lost: no node has it, and the nonce is still free.
    async fn sign(&self, unsigned: &[u8]) -> Result<Signature, SignerError>;
}

/// The longest that a signer may take, for an account's row is locked meanwhile, and with SQLite
/// every write waits.
///
/// To sign within that transaction is a choice. The alternative, to allot the nonce, commit, sign,
/// and store in a second transaction, would leave allotted nonces without a transaction behind
/// when a host dies in between: gaps that somebody has to find and close. A wait with a bound is
/// the smaller evil.
pub(super) const SIGN_MAX: std::time::Duration = std::time::Duration::from_secs(5);

/// Why there is no signature. No text of it shows a key.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignerError {
    /// The curve's arithmetic refused. With a valid key this has a chance of about 2⁻¹²⁸.
    #[error("the key did not sign")]
    NoSignature,
    /// It could not be reached, or not in time.
    #[error("the signer {signer} is away: {cause}")]
    Away { signer: String, cause: String },
    /// It answered that it does not sign this, or not with this key.
    #[error("the signer {signer} refuses: {cause}")]
    Refused { signer: String, cause: String },
    /// What it answered is no signature.
    #[error("the signer {signer} answered what is no signature")]
    Unreadable { signer: String },
}
