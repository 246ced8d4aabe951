//! The accounts that pay on a network, and which of them pays a withdrawal.
//!
//! Until its first signature a withdrawal belongs to no account: the candidates are tried in an
//! order, and one that cannot pay now (frozen, full, short of funds) is passed over. The first
//! signature binds it to its account for ever.

use std::sync::atomic::{AtomicU64, Ordering};

use alloy_primitives::{Address, B256, keccak256};
use tokio::sync::OnceCell;

use super::convert::stored_address;
use crate::chain::ChainError;
use crate::chain::config::{AccountConfig, Spread};
use crate::chain::signer::{AccountKey, RemoteSigner, Signer};
use crate::domain::{Network, WithdrawalId};

#[derive(Debug)]
pub(super) struct PayingAccount {
    pub(super) signer: Box<dyn Signer>,
    /// Set once the account was registered and its nonce compared with the chain's.
    pub(super) checked: OnceCell<()>,
    /// How many of its transactions are mined, as far as this host has heard. It lags, and then an
    /// account seems fuller than it is.
    mined: AtomicU64,
}

impl PayingAccount {
    pub(super) fn address(&self) -> Address {
        self.signer.address()
    }

    /// As the store has it: `0x` and lower-case hexadecimal.
    pub(super) fn stored(&self) -> String {
        stored_address(self.address())
    }

    pub(super) fn mined(&self) -> u64 {
        self.mined.load(Ordering::Relaxed)
    }

    pub(super) fn saw_mined(&self, count: u64) {
        self.mined.store(count, Ordering::Relaxed);
    }
}

/// Never empty, and no address twice.
#[derive(Debug)]
pub(super) struct Accounts {
    all: Vec<PayingAccount>,
    spread: Spread,
}

impl Accounts {
    /// Decrypts the keys. No remote signer is asked yet.
    ///
    /// # Errors
    /// Names the file, or the key of the configuration.
    pub(super) async fn load(
        network: &Network,
        configs: &[AccountConfig],
        spread: Spread,
    ) -> Result<Self, ChainError> {
        let mut all = Vec::with_capacity(configs.len());
        for config in configs {
            let signer = open_signer(network, config).await?;
            all.push(PayingAccount { signer, checked: OnceCell::new(), mined: AtomicU64::new(0) });
        }
        Ok(Self { all, spread })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PayingAccount> {
        self.all.iter()
    }

    /// The account of this address as the store has it.
    pub(super) fn get(&self, stored: &str) -> Option<&PayingAccount> {
        self.all.iter().find(|account| account.stored() == stored)
    }

    /// An address that is configured twice, if there is one.
    pub(super) fn twice(&self) -> Option<Address> {
        let mut seen = std::collections::BTreeSet::new();
        self.all.iter().map(PayingAccount::address).find(|address| !seen.insert(*address))
    }

    /// The candidates for a withdrawal, in the order in which they are tried. The same on every host.
    pub(super) fn order(&self, withdrawal: WithdrawalId) -> Vec<&PayingAccount> {
        let mut order: Vec<&PayingAccount> = self.all.iter().collect();
        match self.spread {
            Spread::InOrder => {}
            Spread::Even => order.sort_by_cached_key(|account| weight(withdrawal, account)),
        }
        order
    }
}

async fn open_signer(
    network: &Network,
    config: &AccountConfig,
) -> Result<Box<dyn Signer>, ChainError> {
    let network = network.clone();
    Ok(match config {
        AccountConfig::Keystore { path, passphrase } => Box::new(
            AccountKey::load(path, passphrase)
                .await
                .map_err(|source| ChainError::Keystore { network, source })?,
        ),
        AccountConfig::Remote(remote) => Box::new(
            RemoteSigner::open(remote)
                .map_err(|source| ChainError::RemoteSigner { network, source })?,
        ),
    })
}

/// Rendezvous hashing (Thaler and Ravishankar, 1998): an account that is added takes an even share
/// from all others and moves nothing between them.
fn weight(withdrawal: WithdrawalId, account: &PayingAccount) -> B256 {
    let mut bytes = [0_u8; 36];
    bytes[..16].copy_from_slice(withdrawal.as_uuid().as_bytes());
    bytes[16..].copy_from_slice(account.address().as_slice());
    keccak256(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(spread: Spread, count: u8) -> Accounts {
        let all = (1..=count).map(|byte| PayingAccount {
            signer: Box::new(AccountKey::for_tests(byte)),
            checked: OnceCell::new(),
            mined: AtomicU64::new(0),
        });
        Accounts { all: all.collect(), spread }
    }

    fn first(accounts: &Accounts, withdrawal: WithdrawalId) -> Address {
        accounts.order(withdrawal)[0].address()
    }

    #[test]
    fn withdrawals_are_spread_evenly_and_stay_where_they_are_when_one_is_added() {
        let (ten, eleven) = (accounts(Spread::Even, 10), accounts(Spread::Even, 11));
        let newest = AccountKey::for_tests(11).address();
        let mut counts = std::collections::BTreeMap::<Address, u32>::new();
        for _ in 0..2_000 {
            let withdrawal = WithdrawalId::generate();
            let (before, after) = (first(&ten, withdrawal), first(&eleven, withdrawal));
            assert!(after == before || after == newest);
            *counts.entry(before).or_default() += 1;
        }
        assert_eq!(counts.len(), 10);
        // Six deviations from 200: by chance once in hundreds of millions of runs.
        assert!(counts.values().all(|count| (119..=281).contains(count)), "{counts:?}");
    }

    #[test]
    fn in_order_the_first_comes_first_and_all_are_candidates() {
        let accounts = accounts(Spread::InOrder, 3);
        let order = accounts.order(WithdrawalId::generate());
        let addresses: Vec<_> = order.iter().map(|account| account.address()).collect();
        assert_eq!(addresses, accounts.iter().map(PayingAccount::address).collect::<Vec<_>>());
        assert_eq!(accounts.twice(), None);
    }
}
