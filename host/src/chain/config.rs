//! What the operator says about a network. Plain values; the file that they come from is read in
//! `cli`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::signer::{Passphrase, RemoteSignerConfig};
use crate::domain::Network;

/// One network that the host pays on.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// `eip155:` and the chain id.
    pub network: Network,
    /// The host's own nodes: its evidence comes from them. By preference.
    pub rpc_urls: Vec<Url>,
    /// Where new heads are listened to, over WebSocket. None: blocks are polled for.
    pub ws_urls: Vec<Url>,
    /// How many nodes must say the same; more than half where none is given.
    pub quorum: Option<usize>,
    pub finality: Finality,
    /// With [`Finality::Depth`]: how many blocks make a payment final, its own block counted: 1
    /// is "mined".
    pub depth: u64,
    pub assets: BTreeMap<String, Asset>,
    /// Those that pay. At least one.
    pub accounts: Vec<AccountConfig>,
    pub spread: Spread,
    /// How many transactions of one account may wait for being mined.
    pub in_flight_max: u64,
    pub fees: FeeCaps,
    /// For so many blocks after its own an end is watched: a reorganisation may take it back.
    pub watch_blocks: u64,
    /// Not mined for so long, the host sends the stored bytes again itself.
    pub resend_after: Duration,
    /// Not mined for so long, the plugin is asked again, so that it may raise the fees.
    pub rebroadcast_after: Duration,
    /// For one call of a node, from connecting to the last byte.
    pub rpc_timeout: Duration,
}

/// An account that pays, by what signs for it.
#[derive(Debug, Clone)]
pub enum AccountConfig {
    Keystore {
        /// A file in the Web3 Secret Storage format.
        path: PathBuf,
        passphrase: Passphrase,
    },
    Remote(RemoteSignerConfig),
}

/// Which account a new withdrawal is paid from, of those that can pay it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spread {
    /// Each gets an even share.
    #[default]
    Even,
    /// The first that can, in the order of the configuration.
    InOrder,
}

/// What makes a block of the canonical chain final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Finality {
    /// So many blocks.
    #[default]
    Depth,
    /// The chain's own tag `safe`.
    Safe,
    /// The chain's own tag `finalized`.
    Finalized,
}

impl Finality {
    /// As the configuration and the evidence have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Depth => "depth",
            Self::Safe => "safe",
            Self::Finalized => "finalized",
        }
    }
}

/// How an asset exists on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asset {
    /// The chain's own coin.
    Native { decimals: u8 },
    /// A token: `contract` is an address, with its EIP-55 checksum or in one case.
    Erc20 { contract: String, decimals: u8 },
}

impl Asset {
    #[must_use]
    pub fn decimals(&self) -> u8 {
        match self {
            Self::Native { decimals } | Self::Erc20 { decimals, .. } => *decimals,
        }
    }
}

/// What a plugin can make the host spend on fees at most. In wei.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeeCaps {
    pub fee_max_per_gas: u128,
    pub fee_max_per_transaction: u128,
    /// For an account, over the last 24 hours.
    pub fee_max_per_day: u128,
    pub gas_limit_max: u64,
}
