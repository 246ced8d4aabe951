//! The manifest's `[settings]`.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use tidegate_plugin::{Failure, retry, settings};

use crate::rpc::Nodes;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Network to the addresses of its nodes.
    #[serde(default)]
    rpc_urls: BTreeMap<String, Vec<String>>,
    /// What is unusual about a network.
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
    /// What is added to the node's estimate, for the state may change before the block.
    #[serde(default = "gas_margin_percent")]
    pub(crate) gas_margin_percent: u64,
    /// The least priority fee that is offered, for in empty blocks the median is zero.
    #[serde(default = "priority_fee_min_wei")]
    pub(crate) priority_fee_min_wei: u64,
    /// For how many blocks a payment that is next in turn may wait before its fees are raised;
    /// 0: they are raised only where a node asks for it.
    #[serde(default = "bump_after_blocks")]
    pub(crate) bump_after_blocks: u64,
    /// What to do where the host's caps allow no higher fee.
    #[serde(default)]
    pub(crate) at_fee_cap: AtFeeCap,
    /// For each call of a node.
    #[serde(default = "request_timeout_ms")]
    request_timeout_ms: u64,
}

/// What is unusual about a network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Profile {
    #[default]
    Standard,
    /// A sequencer takes a transaction into its next block or refuses it: nothing waits there, so
    /// there is nothing that could be replaced by a higher fee.
    NoPool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AtFeeCap {
    /// The fees of the market will fall again.
    Wait,
    /// The same, and the operator hears of it.
    #[default]
    Tell,
}

fn gas_margin_percent() -> u64 {
    20
}

/// What geth's miners ignore below, unless told otherwise: 0.001 gwei.
fn priority_fee_min_wei() -> u64 {
    1_000_000
}

fn bump_after_blocks() -> u64 {
    5
}

fn request_timeout_ms() -> u64 {
    5_000
}

impl Settings {
    pub(crate) fn load() -> Result<Self, Failure> {
        Ok(settings::get()?)
    }

    pub(crate) fn serves(&self, network: &str) -> bool {
        self.rpc_urls.get(network).is_some_and(|urls| !urls.is_empty())
    }

    pub(crate) fn profile(&self, network: &str) -> Profile {
        self.profiles.get(network).copied().unwrap_or_default()
    }

    /// The operator can add a node while the event waits.
    pub(crate) fn nodes(&self, network: &str) -> Result<Nodes, Failure> {
        match self.rpc_urls.get(network) {
            Some(urls) if !urls.is_empty() => {
                Ok(Nodes::new(urls.clone(), Duration::from_millis(self.request_timeout_ms)))
            }
            _ => Err(retry(format!("settings.rpc_urls names no node for {network}"))),
        }
    }
}
