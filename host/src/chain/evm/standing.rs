//! The accounts of a network as an operator sees them, and what an operator decides about them.

use alloy_primitives::Address;

use super::EvmChain;
use super::accounts::PayingAccount;
use super::convert::{parse_address, stored_address};
use super::rpc::RpcError;
use crate::store::{AccountChange, AccountNote, StoreError};

/// One account: what the store knows of it, and what the chain says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountStanding {
    /// With its EIP-55 checksum.
    pub address: String,
    /// Whether its key is here. Without it, what was signed is still followed to its end.
    pub has_key: bool,
    /// The nonce that the next withdrawal gets; none before the first signature.
    pub next_nonce: Option<u64>,
    pub frozen_reason: Option<String>,
    /// What the chain says; none while the nodes cannot say.
    pub chain: Option<ChainStanding>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainStanding {
    /// How many of its transactions are mined.
    pub mined: u64,
    /// Of the chain's own coin, in wei, decimal.
    pub balance_wei: String,
}

/// Why an operator's decision about an account was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("{0} is no account of this network that was ever used")]
    Unknown(String),
    /// The nonce that it would go on with is the chain's to say.
    #[error(transparent)]
    Nodes(#[from] RpcError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EvmChain {
    /// All accounts that are configured or were ever used, in the order of their addresses.
    ///
    /// # Errors
    /// The store cannot be read. A node that is away makes `chain` none.
    pub async fn standing(&self) -> Result<Vec<AccountStanding>, StoreError> {
        let known = self.store.0.accounts(self.chain_id).await?;
        let mut addresses: Vec<Address> =
            known.iter().filter_map(|account| parse_address(&account.address)).collect();
        addresses.extend(self.accounts.iter().map(PayingAccount::address));
        addresses.sort_unstable();
        addresses.dedup();
        let mut standing = Vec::with_capacity(addresses.len());
        for address in addresses {
            let stored = stored_address(address);
            let of_store = known.iter().find(|account| account.address == stored);
            standing.push(AccountStanding {
                address: address.to_checksum(None),
                has_key: self.accounts.get(&stored).is_some(),
                next_nonce: of_store.map(|account| account.next_nonce),
                frozen_reason: of_store.and_then(|account| account.frozen_reason.clone()),
                chain: self.chain_standing(address).await,
            });
        }
        Ok(standing)
    }

    async fn chain_standing(&self, address: Address) -> Option<ChainStanding> {
        let (mined, balances) =
            tokio::join!(self.nodes.transaction_count(address), self.nodes.balances(address, None));
        match (mined, balances) {
            (Ok(mined), Ok(balances)) => {
                Some(ChainStanding { mined, balance_wei: balances.native.to_string() })
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::debug!(%error, %address, "an account's standing could not be read");
                None
            }
        }
    }

    /// What was said about the account, oldest first.
    ///
    /// # Errors
    /// [`AccountError::Unknown`], or the store's.
    pub async fn account_history(&self, address: &str) -> Result<Vec<AccountNote>, AccountError> {
        let stored = stored_of(address)?;
        Ok(self.store.0.account_history(self.chain_id, &stored).await?)
    }

    /// Stops all signing for the account, until it is unfrozen. Answers whether it changed anything.
    ///
    /// # Errors
    /// [`AccountError::Unknown`], or the store's.
    pub async fn freeze_account(
        &self,
        address: &str,
        reason: &str,
        by: &str,
    ) -> Result<bool, AccountError> {
        let stored = stored_of(address)?;
        let change = AccountChange { chain_id: self.chain_id, address: &stored, reason, by };
        let changed = self.store.0.freeze_account(change).await?;
        changed.ok_or_else(|| AccountError::Unknown(address.to_owned()))
    }

    /// Lets the account sign again. Nonces that the chain has used meanwhile are passed over, so that
    /// none is allotted that somebody else used. Answers whether it changed anything.
    ///
    /// # Errors
    /// [`AccountError::Nodes`]: they cannot say how far the chain is.
    pub async fn unfreeze_account(
        &self,
        address: &str,
        reason: &str,
        by: &str,
    ) -> Result<bool, AccountError> {
        let stored = stored_of(address)?;
        let parsed =
            parse_address(&stored).ok_or_else(|| AccountError::Unknown(address.to_owned()))?;
        let mined = self.nodes.transaction_count(parsed).await?;
        let change = AccountChange { chain_id: self.chain_id, address: &stored, reason, by };
        let changed = self.store.0.unfreeze_account(change, mined).await?;
        changed.ok_or_else(|| AccountError::Unknown(address.to_owned()))
    }
}

fn stored_of(address: &str) -> Result<String, AccountError> {
    let parsed = parse_address(address).ok_or_else(|| AccountError::Unknown(address.to_owned()))?;
    Ok(stored_address(parsed))
}
