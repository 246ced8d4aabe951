//! All three stand-ins together, in one data directory, as `dev` starts them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy_primitives::{Address, U256, address};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use super::{
    ChainConfig, Clock, EventStream, EvmNode, JournalError, Partner, SandboxError, TokenConfig,
};
use crate::broker::Broker;

/// What the stand-in chain is called, and what can be paid there.
pub const NETWORK: &str = "eip155:31337";
pub const ASSET_NATIVE: &str = "ETH";
pub const ASSET_TOKEN: &str = "USDC";
pub const TOKEN_CONTRACT: Address = address!("05dc05dc05dc05dc05dc05dc05dc05dc05dc05dc");
pub const TOKEN_DECIMALS: u8 = 6;

const CHAIN_ID: u64 = 31_337;

/// What an account is given: a million of each asset.
const GIFT: u64 = 1_000_000;

/// How the stand-ins are to be.
#[derive(Debug, Clone)]
pub struct StandInsOptions {
    pub block_interval_ms: u64,
    /// What the partner asks for; none lets everybody in.
    pub partner_api_key: Option<String>,
    pub clock: Clock,
}

impl Default for StandInsOptions {
    fn default() -> Self {
        Self { block_interval_ms: 250, partner_api_key: None, clock: Clock::System }
    }
}

/// The stand-ins, running. Dropping them stops them.
pub struct StandIns {
    pub partner_url: String,
    pub node_url: String,
    pub broker_url: String,
    pub broker: Arc<dyn Broker>,
    pub partner: Partner,
    pub node: EvmNode,
    pub event_stream: EventStream,
}

/// Where they listened last: a newcomer's curl should work again after a restart.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Addresses {
    partner: Option<SocketAddr>,
    node: Option<SocketAddr>,
    broker: Option<SocketAddr>,
}

impl StandIns {
    /// Starts all three on loopback, with what they knew before.
    ///
    /// # Errors
    /// The data directory cannot be used, or is used by another process; or no port is free.
    pub async fn start(data_dir: &Path, options: StandInsOptions) -> Result<Self, SandboxError> {
        let folder = data_dir.join("stand-ins");
        let in_folder = |source| SandboxError::DataDirectory { path: folder.clone(), source };
        tokio::fs::create_dir_all(&folder).await.map_err(in_folder)?;
        let addresses_path = folder.join("addresses.json");
        let last = read_addresses(&addresses_path).await;

        let partner = Partner::start(
            &folder.join("partner.jsonl"),
            listen("partner", last.partner).await?,
            options.partner_api_key,
            options.clock.clone(),
        )?;
        let node = EvmNode::start(
            &folder.join("node.jsonl"),
            listen("node", last.node).await?,
            ChainConfig {
                chain_id: CHAIN_ID,
                block_interval_ms: options.block_interval_ms,
                tokens: vec![TokenConfig {
                    contract: TOKEN_CONTRACT,
                    symbol: ASSET_TOKEN.to_owned(),
                    decimals: TOKEN_DECIMALS,
                }],
                ..ChainConfig::default()
            },
            options.clock.clone(),
        )?;
        let event_stream = EventStream::start(
            &folder.join("broker.jsonl"),
            listen("broker", last.broker).await?,
            options.clock,
        )?;

        let addresses = Addresses {
            partner: Some(partner.address()),
            node: Some(node.address()),
            broker: Some(event_stream.address()),
        };
        write_addresses(&addresses_path, addresses).await.map_err(in_folder)?;
        Ok(Self {
            partner_url: partner.url(),
            node_url: node.url(),
            broker_url: event_stream.url(),
            broker: event_stream.broker(),
            partner,
            node,
            event_stream,
        })
    }

    /// Gives an account a million of the chain's own coin and of the token. A repeat gives
    /// nothing more.
    ///
    /// # Errors
    /// The node's journal cannot be written.
    pub fn fund(&self, account: Address) -> Result<(), JournalError> {
        let gift = |decimals: u8| {
            U256::from(GIFT).saturating_mul(U256::from(10).pow(U256::from(decimals)))
        };
        self.node.network().fund_once(account, gift(18), &[(TOKEN_CONTRACT, gift(TOKEN_DECIMALS))])
    }

    /// Stops one after the other: each finishes the requests that it has in hand.
    pub async fn shutdown(self) {
        self.partner.shutdown().await;
        self.node.shutdown().await;
        self.event_stream.shutdown().await;
    }
}

/// What cannot be read is as good as nothing: other ports are found.
async fn read_addresses(path: &PathBuf) -> Addresses {
    match tokio::fs::read(path).await {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Err(_) => Addresses::default(),
    }
}

async fn write_addresses(path: &Path, addresses: Addresses) -> io::Result<()> {
    let temporary = path.with_extension("json.new");
    tokio::fs::write(&temporary, serde_json::to_vec_pretty(&addresses)?).await?;
    tokio::fs::rename(&temporary, path).await
}

/// The port of last time if it is free, else any. Never an address that others could reach.
async fn listen(
    stand_in: &'static str,
    last: Option<SocketAddr>,
) -> Result<TcpListener, SandboxError> {
    if let Some(last) = last.filter(|last| last.ip().is_loopback())
        && let Ok(listener) = TcpListener::bind(last).await
    {
        return Ok(listener);
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .map_err(|source| SandboxError::Serve { stand_in, source })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sandbox::testing::door;

    const ACCOUNT: Address = address!("00000000000000000000000000000000000000aa");

    #[tokio::test]
    async fn a_second_start_finds_the_same_addresses_and_state() {
        let folder = tempfile::tempdir().unwrap();
        let options = StandInsOptions::default;
        // An address that no other test of this process could take in between.
        let mut free = Vec::new();
        for _ in 0..3 {
            free.push(TcpListener::bind((Ipv4Addr::new(127, 77, 0, 1), 0)).await.unwrap());
        }
        let address = |i: usize| free.get(i).and_then(|it: &TcpListener| it.local_addr().ok());
        let addresses = Addresses { partner: address(0), node: address(1), broker: address(2) };
        drop(free);
        std::fs::create_dir(folder.path().join("stand-ins")).unwrap();
        let path = folder.path().join("stand-ins/addresses.json");
        write_addresses(&path, addresses).await.unwrap();
        let first = StandIns::start(folder.path(), options()).await.unwrap();
        first.fund(ACCOUNT).unwrap();
        first.fund(ACCOUNT).unwrap();
        let urls = |s: &StandIns| [s.partner_url.clone(), s.node_url.clone(), s.broker_url.clone()];
        let before = (urls(&first), first.node.network().height().unwrap());
        assert!(before.0[0].contains("127.77.0.1"));
        first.shutdown().await;

        let second = StandIns::start(folder.path(), options()).await.unwrap();
        assert_eq!(urls(&second), before.0);
        assert!(second.node.network().height().unwrap() >= before.1);
        second.fund(ACCOUNT).unwrap();
        let million = U256::from(1_000_000) * U256::from(10).pow(U256::from(18));
        assert_eq!(second.node.network().balance(ACCOUNT).unwrap(), million);
        let door = door(&second.node_url);
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" });
        assert_eq!(door.post("/", call).await.1["result"], "0x7a69");
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_replaced_and_a_directory_in_use_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = StandIns::start(folder.path(), StandInsOptions::default()).await.unwrap();
        let taken = first.partner.address();
        let second = StandIns::start(folder.path(), StandInsOptions::default()).await;
        assert!(matches!(second, Err(SandboxError::Journal(JournalError::Locked { .. }))));
        drop(first);
        let _occupied = loop {
            // The listener of the dropped one is closed by its task.
            match TcpListener::bind(taken).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let third = StandIns::start(folder.path(), StandInsOptions::default()).await.unwrap();
        assert_ne!(third.partner.address(), taken);
    }
}
