//! The accounts that pay, and what hosts and operators say about them.

use async_trait::async_trait;

use super::StoreError;
use crate::domain::Timestamp;

#[async_trait]
pub trait AccountStore: Send + Sync {
    /// Makes the account known, with `chain_nonce` as its first nonce. A repeat changes nothing.
    async fn register_account(
        &self,
        chain_id: u64,
        address: &str,
        chain_nonce: u64,
    ) -> Result<Account, StoreError>;

    /// The accounts of a chain that were ever registered, in the order of their addresses.
    async fn accounts(&self, chain_id: u64) -> Result<Vec<Account>, StoreError>;

    /// Stops all signing for the account. A repeat keeps the first reason. Answers whether it
    /// changed anything; none, if the account was never registered.
    async fn freeze_account(&self, change: AccountChange<'_>) -> Result<Option<bool>, StoreError>;

    /// Lets the account sign again, from `next_nonce` on if that is above the account's own: nonces
    /// that the chain has used elsewhere are never allotted. Answers as [`Self::freeze_account`].
    async fn unfreeze_account(
        &self,
        change: AccountChange<'_>,
        next_nonce: u64,
    ) -> Result<Option<bool>, StoreError>;

    /// What was said about the account, oldest first.
    async fn account_history(
        &self,
        chain_id: u64,
        address: &str,
    ) -> Result<Vec<AccountNote>, StoreError>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub chain_id: u64,
    /// `0x` and lower-case hexadecimal.
    pub address: String,
    /// The nonce that the next withdrawal gets.
    pub next_nonce: u64,
    pub frozen_reason: Option<String>,
}

/// What someone says about an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountChange<'a> {
    pub chain_id: u64,
    /// `0x` and lower-case hexadecimal.
    pub address: &'a str,
    pub reason: &'a str,
    pub by: &'a str,
}

/// One line of an account's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountNote {
    pub frozen: bool,
    pub reason: String,
    pub by: String,
    pub at: Timestamp,
}
