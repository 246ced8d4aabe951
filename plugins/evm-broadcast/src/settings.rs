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
    /// What is added to the node's estimate, for the state may change before the block.
    #[serde(default = "gas_margin_percent")]
    pub(crate) gas_margin_percent: u64,
    /// The least priority fee that is offered, for in empty blocks the median is zero.
    #[serde(default = "priority_fee_min_wei")]
    pub(crate) priority_fee_min_wei: u64,
    /// For each call of a node.
    #[serde(default = "request_timeout_ms")]
    request_timeout_ms: u64,
}

fn gas_margin_percent() -> u64 {
    20
}

/// What geth's miners ignore below, unless told otherwise: 0.001 gwei.
fn priority_fee_min_wei() -> u64 {
    1_000_000
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
