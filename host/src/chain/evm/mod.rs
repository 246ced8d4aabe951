//! Chains of the Ethereum family: what is paid how (`terms`), what may be signed (`rules`,
//! `transaction`, `signing`), and what the chain says about it (`nodes`, `evidence`,
//! `confirmation`).

mod accounts;
mod agreement;
mod answers;
mod asking;
mod closing;
mod closing_rules;
mod confirmation;
mod convert;
mod endpoint;
mod evidence;
mod heads;
mod health;
mod lookups;
mod node_counts;
mod nodes;
mod resending;
mod rpc;
mod rules;
mod signing;
mod standing;
mod strangers;
mod transaction;
mod watching;

#[cfg(test)]
mod anvil_test;
#[cfg(test)]
mod fake_node;
#[cfg(test)]
mod testing;
#[cfg(test)]
pub(in crate::chain) use transaction::tests::sign_for_tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use alloy_primitives::Address;
use tokio_util::sync::CancellationToken;
use url::Url;

pub use confirmation::ConfirmationPass;
pub use rpc::RpcError;
pub use rules::TransactionRequest;
pub use signing::SignError;
pub use standing::{AccountError, AccountStanding, ChainStanding};

use self::accounts::{Accounts, PayingAccount};
use self::asking::Panel;
use self::convert::{parse_address, uint256};
use self::endpoint::Endpoint;
use self::heads::Heads;
use self::nodes::Nodes;
use self::resending::Resends;
use self::rules::{Terms, rule};
use super::ChainError;
use super::config::{Asset, NetworkConfig};
use crate::domain::{Amount, Network, SignedTransaction, WithdrawalId};
use crate::store::{ChainStore, StoreError};

/// 10⁷⁷ is the largest power of ten below 2²⁵⁶.
const DECIMALS_MAX: u8 = 77;

/// One network: its nodes, its accounts, and what the host pays on it.
#[derive(Debug)]
pub struct EvmChain {
    config: NetworkConfig,
    chain_id: u64,
    assets: BTreeMap<String, KnownAsset>,
    accounts: Accounts,
    nodes: Nodes,
    heads: Heads,
    store: StoreHandle,
    resends: Mutex<Resends>,
}

#[derive(Debug, Clone, Copy)]
struct KnownAsset {
    contract: Option<Address>,
    decimals: u8,
}

struct StoreHandle(Arc<dyn ChainStore>);

impl std::fmt::Debug for StoreHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChainStore")
    }
}

/// How an asset is paid on this network, for a plugin that builds the transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentTerms {
    pub chain_id: u64,
    /// With its EIP-55 checksum.
    pub account: String,
    /// With its EIP-55 checksum; none for the chain's own coin.
    pub contract: Option<String>,
    pub decimals: u8,
}

/// What is wrong with a withdrawal before it is accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct RequestError {
    /// The field of the request, as the API names it.
    pub field: &'static str,
    pub reason: String,
}

impl EvmChain {
    pub(super) async fn open(
        config: NetworkConfig,
        store: Arc<dyn ChainStore>,
    ) -> Result<Self, ChainError> {
        let fault = |field, reason: &str| ChainError::Config {
            network: config.network.clone(),
            field,
            reason: reason.to_owned(),
        };
        let chain_id = chain_id(&config.network)
            .ok_or_else(|| fault("network", "it needs the form eip155:N, with N above zero"))?;
        check_numbers(&config, fault)?;
        let assets = known_assets(&config, fault)?;
        let client = rpc::client(&config.rpc_urls, config.rpc_timeout)
            .map_err(|reason| fault("rpc_urls", &reason))?;
        let endpoints = config
            .rpc_urls
            .iter()
            .map(|url| Endpoint::new(url.clone(), client.clone(), chain_id))
            .collect();
        let panel = Panel::new(endpoints, config.quorum, config.rpc_timeout);
        let nodes = Nodes::new(panel, config.finality, config.depth);
        let heads = Heads::new(config.ws_urls.clone(), chain_id)
            .map_err(|reason| fault("ws_urls", &reason))?;
        let accounts = Accounts::load(&config.network, &config.accounts, config.spread).await?;
        if let Some(address) = accounts.twice() {
            return Err(fault("accounts", &format!("{address} is configured twice")));
        }
        Ok(Self {
            chain_id,
            assets,
            accounts,
            nodes,
            heads,
            store: StoreHandle(store),
            resends: Mutex::new(Resends::default()),
            config,
        })
    }

    /// Keeps up the subscription to new heads, where one is configured, until `stop`.
    pub async fn follow_heads(&self, stop: &CancellationToken) {
        self.heads.follow(stop).await;
    }

    /// Ends when a node told of a new block, or did so since the last call ended. Never, where
    /// there is no subscription.
    pub async fn new_head(&self) {
        self.heads.next().await;
    }

    #[must_use]
    pub fn network(&self) -> &Network {
        &self.config.network
    }

    #[must_use]
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// The paying accounts, with their EIP-55 checksums, in the order of the configuration.
    pub fn accounts(&self) -> impl Iterator<Item = String> {
        self.accounts.iter().map(|account| account.address().to_checksum(None))
    }

    /// How `asset` is paid here, for this withdrawal: with the account of its first signature, or
    /// before it the one that would sign now. Asks no node.
    ///
    /// # Errors
    /// [`SignError::Refused`]: the network has no such asset. Or the store cannot be read.
    pub async fn terms(
        &self,
        withdrawal: Option<WithdrawalId>,
        asset: &str,
    ) -> Result<PaymentTerms, SignError> {
        let terms = self.inner_terms(asset, self.account_of(withdrawal).await?)?;
        Ok(PaymentTerms {
            chain_id: terms.chain_id,
            account: terms.account.to_checksum(None),
            contract: terms.contract.map(|contract| contract.to_checksum(None)),
            decimals: terms.decimals,
        })
    }

    /// Whether a withdrawal of this asset and amount could ever be paid here. Asks nobody.
    ///
    /// # Errors
    /// Names the field and the reason.
    pub fn validate_request(&self, asset: &str, amount: &Amount) -> Result<(), RequestError> {
        let Some(known) = self.assets.get(asset) else {
            let names: Vec<&str> = self.assets.keys().map(String::as_str).collect();
            let reason = format!("{} has {}", self.config.network, names.join(", "));
            return Err(RequestError { field: "asset", reason });
        };
        let units = amount
            .base_units(known.decimals)
            .map_err(|error| RequestError { field: "amount", reason: error.to_string() })?;
        match uint256(&units) {
            Some(_) => Ok(()),
            None => Err(RequestError {
                field: "amount",
                reason: "it exceeds what the chain can hold".into(),
            }),
        }
    }

    /// What was signed last for this withdrawal, if anything.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn signed(
        &self,
        withdrawal: WithdrawalId,
    ) -> Result<Option<SignedTransaction>, StoreError> {
        let payment = self.store.0.payment(withdrawal).await?;
        Ok(payment.and_then(|payment| payment.transactions.into_iter().next_back()))
    }

    async fn account_of(
        &self,
        withdrawal: Option<WithdrawalId>,
    ) -> Result<&PayingAccount, SignError> {
        let withdrawal = withdrawal.unwrap_or_else(|| WithdrawalId::from_uuid(uuid::Uuid::nil()));
        let payment = self.store.0.payment(withdrawal).await?;
        let bound = payment.as_ref().and_then(|payment| payment.transactions.first());
        if let Some(first) = bound {
            return self.bound_account(&first.account);
        }
        let known = self.store.0.accounts(self.chain_id).await?;
        let frozen = |account: &&PayingAccount| {
            let stored = account.stored();
            known.iter().any(|it| it.address == stored && it.frozen_reason.is_some())
        };
        let order = self.accounts.order(withdrawal);
        let able = order.iter().copied().find(|account| !frozen(account));
        // Never empty.
        able.or_else(|| order.first().copied())
            .ok_or_else(|| SignError::Unavailable("no account is configured".into()))
    }

    fn bound_account(&self, stored: &str) -> Result<&PayingAccount, SignError> {
        self.accounts.get(stored).ok_or_else(|| SignError::Wait {
            rule: rule::ACCOUNT,
            reason: format!("the key of {stored}, which signed first, is not here"),
        })
    }

    fn inner_terms<'a>(
        &'a self,
        asset: &'a str,
        account: &PayingAccount,
    ) -> Result<Terms<'a>, SignError> {
        let known = self.assets.get(asset).ok_or_else(|| SignError::Refused {
            rule: rule::ASSET,
            reason: format!("{} has no such asset", self.config.network),
        })?;
        Ok(Terms {
            network: self.config.network.as_str(),
            chain_id: self.chain_id,
            asset,
            account: account.address(),
            contract: known.contract,
            decimals: known.decimals,
            mined: account.mined(),
            nonce_end: account.mined().saturating_add(self.config.in_flight_max),
        })
    }
}

/// What is counted about the nodes of these networks, as Prometheus reads it.
pub(super) fn node_metrics<'a>(chains: impl Iterator<Item = &'a EvmChain>) -> String {
    let networks: Vec<node_counts::Network<'_>> = chains
        .map(|chain| node_counts::Network {
            name: chain.config.network.as_str(),
            nodes: chain.nodes.endpoints(),
            contradictions: chain.nodes.panel.contradictions(),
            heads: &chain.heads,
        })
        .collect();
    let mut text = String::new();
    node_counts::write(&networks, &mut text);
    text
}

fn chain_id(network: &Network) -> Option<u64> {
    let reference = network.reference();
    let canonical = reference.bytes().all(|b| b.is_ascii_digit()) && !reference.starts_with('0');
    (network.namespace() == "eip155" && canonical).then(|| reference.parse().ok()).flatten()
}

fn check_numbers(
    config: &NetworkConfig,
    fault: impl Fn(&'static str, &str) -> ChainError,
) -> Result<(), ChainError> {
    if config.depth == 0 {
        return Err(fault("depth", "it is at least 1: the block that holds the payment counts"));
    }
    if config.rpc_urls.is_empty() {
        return Err(fault("rpc_urls", "at least one node is needed"));
    }
    let http = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    if !config.rpc_urls.iter().all(http) {
        return Err(fault("rpc_urls", "only http:// and https:// are spoken"));
    }
    if config.accounts.is_empty() {
        return Err(fault("accounts", "at least one is needed"));
    }
    if config.in_flight_max == 0 {
        return Err(fault("in_flight_max", "it is at least 1"));
    }
    let ws = |url: &Url| matches!(url.scheme(), "ws" | "wss") && url.has_host();
    if !config.ws_urls.iter().all(ws) {
        return Err(fault("ws_urls", "only ws:// and wss:// are spoken"));
    }
    let nodes = config.rpc_urls.len();
    if config.quorum.is_some_and(|quorum| !(1..=nodes).contains(&quorum)) {
        return Err(fault("quorum", &format!("it is from 1 to the number of nodes, {nodes}")));
    }
    if config.rpc_timeout.is_zero() {
        return Err(fault("rpc_timeout", "it is above zero"));
    }
    if config.fees.gas_limit_max < rules::GAS_LIMIT_MIN {
        return Err(fault("gas_limit_max", "no transaction uses less than 21000"));
    }
    Ok(())
}

fn known_assets(
    config: &NetworkConfig,
    fault: impl Fn(&'static str, &str) -> ChainError,
) -> Result<BTreeMap<String, KnownAsset>, ChainError> {
    if config.assets.is_empty() {
        return Err(fault("assets", "at least one is needed"));
    }
    let mut known = BTreeMap::new();
    for (name, asset) in &config.assets {
        let decimals = asset.decimals();
        if decimals > DECIMALS_MAX {
            return Err(fault("assets", &format!("{name}: at most {DECIMALS_MAX} decimals")));
        }
        let contract = match asset {
            Asset::Native { .. } => None,
            Asset::Erc20 { contract, .. } => Some(
                contract_address(contract)
                    .ok_or_else(|| fault("assets", &format!("{name}: {contract} is no address")))?,
            ),
        };
        known.insert(name.clone(), KnownAsset { contract, decimals });
    }
    Ok(known)
}

/// A mixed-case address carries a checksum (EIP-55), and a wrong one is a typing error.
fn contract_address(text: &str) -> Option<Address> {
    let address = parse_address(text).filter(|address| !address.is_zero())?;
    let digits = &text[2..];
    let one_case = digits == digits.to_ascii_lowercase() || digits == digits.to_ascii_uppercase();
    (one_case || address.to_checksum(None) == text).then_some(address)
}
