//! Accounts, nonces, signing rules, keys and evidence: what money rests on.
//!
//! A chain family is a module here (rules and evidence) and a plugin (building and sending). The
//! plugin proposes; only what stands here signs, and only what is read here, from the operator's
//! own endpoints, says that a payment is final. Of the store this module knows [`ChainStore`].

mod config;
mod evm;
mod signer;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use config::{AccountConfig, Asset, FeeCaps, Finality, NetworkConfig, Spread};
pub use evm::{
    AccountError, AccountStanding, ChainStanding, ConfirmationPass, EvmChain, PaymentTerms,
    RequestError, RpcError, SignError, TransactionRequest,
};
pub use signer::{
    ClientFiles, KeystoreError, Passphrase, RemoteSignerConfig, RemoteSignerError, create_keystore,
    keystore_address,
};

use crate::domain::Network;
use crate::store::{ChainStore, StoreError};

/// Why the chains cannot be opened, or a pass over one ended early.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    #[error("network {network}: {field}: {reason}")]
    Config { network: Network, field: &'static str, reason: String },
    #[error("network {network}: {source}")]
    Keystore { network: Network, source: KeystoreError },
    #[error("network {network}: {source}")]
    RemoteSigner { network: Network, source: RemoteSignerError },
    #[error(transparent)]
    Rpc(#[from] RpcError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All networks that this host pays on.
#[derive(Debug, Default)]
pub struct Chains {
    by_network: BTreeMap<Network, Arc<EvmChain>>,
}

impl Chains {
    /// Checks the configuration and decrypts the keys. No node is asked yet: a host must start,
    /// and take withdrawals, while its nodes are away.
    ///
    /// # Errors
    /// [`ChainError::Config`] names the network and the field, [`ChainError::Keystore`] the file.
    pub async fn open(
        configs: Vec<NetworkConfig>,
        store: Arc<dyn ChainStore>,
    ) -> Result<Self, ChainError> {
        let mut by_network = BTreeMap::new();
        for config in configs {
            let network = config.network.clone();
            let chain = Arc::new(EvmChain::open(config, Arc::clone(&store)).await?);
            if by_network.insert(network.clone(), chain).is_some() {
                let reason = "it is configured twice".to_owned();
                return Err(ChainError::Config { network, field: "network", reason });
            }
        }
        Ok(Self { by_network })
    }

    #[must_use]
    pub fn get(&self, network: &Network) -> Option<&Arc<EvmChain>> {
        self.by_network.get(network)
    }

    /// What is counted about the nodes of all networks, as Prometheus reads it.
    #[must_use]
    pub fn metrics(&self) -> String {
        evm::node_metrics(self.by_network.values().map(AsRef::as_ref))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Network, &Arc<EvmChain>)> {
        self.by_network.iter()
    }
}
