//! Another real EVM node: that of npm's `hardhat`, version 2, as `tests/install` puts it in place.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::eventually::eventually;
use crate::machine::free_port;
use crate::node::Node;
use crate::process::{Process, Signal};
use crate::skip::skip;

const STARTED_WITHIN: Duration = Duration::from_secs(60);
const BLOCK_INTERVAL_MS: u32 = 1_000;
/// A thousand ether.
const PLENTY_WEI: &str = "0x3635c9adc5dea00000";

/// A running node that mines a block each second.
#[derive(Debug)]
pub struct Hardhat {
    pub node: Node,
    _process: Process,
}

impl Hardhat {
    /// None, with a line that says so, where there is no hardhat.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start(logs: &Path) -> Option<Self> {
        let Some(binary) = binary() else {
            skip("hardhat is not in PATH", "tests/install");
            return None;
        };
        let port = free_port();
        let process = Process::start(logs, "hardhat", Signal::Kill, |command| {
            command.arg(binary).args(["node", "--hostname", "127.0.0.1"]);
            command.arg("--port").arg(port.to_string());
        });
        let node = Node::new(&format!("http://127.0.0.1:{port}"));
        eventually("hardhat's node answers", STARTED_WITHIN, async || {
            node.try_call("eth_chainId", json!([])).await
        })
        .await;
        // Else it mines each transaction at once, and refuses one above a gap.
        node.call("evm_setAutomine", json!([false])).await;
        node.call("evm_setIntervalMining", json!([BLOCK_INTERVAL_MS])).await;
        Some(Self { node, _process: process })
    }

    /// Gives an account plenty of the chain's own coin.
    ///
    /// # Panics
    /// The node refuses.
    pub async fn fund(&self, account: &str) {
        self.node.call("hardhat_setBalance", json!([account, PLENTY_WEI])).await;
    }
}

fn binary() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("hardhat")).find(|file| file.is_file())
}
