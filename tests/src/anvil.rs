//! A real EVM node: anvil, of npm's `@foundry-rs/anvil`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

#[path = "../fixtures/token.rs"]
#[allow(dead_code, reason = "the host's own tests deploy the other one, too")]
mod token;

use crate::eventually::eventually;
use crate::machine::free_port;
use crate::node::{Node, word};
use crate::process::{Process, Signal};
use crate::skip::skip;

const STARTED_WITHIN: Duration = Duration::from_secs(30);
const MINED_WITHIN: Duration = Duration::from_secs(20);
/// A thousand ether.
const PLENTY_WEI: &str = "0x3635c9adc5dea00000";

/// A running anvil that mines a block each second.
#[derive(Debug)]
pub struct Anvil {
    pub node: Node,
    /// An account that the node signs for.
    rich: String,
    _process: Process,
}

impl Anvil {
    /// None, with a line that says so, where there is no anvil.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start(logs: &Path) -> Option<Self> {
        let Some(binary) = binary() else {
            skip(
                "anvil is not in PATH, and TIDEGATE_ANVIL names none",
                "npm install @foundry-rs/anvil",
            );
            return None;
        };
        let port = free_port();
        let process = Process::start(logs, "anvil", Signal::Kill, |command| {
            command.arg(binary).args(["--silent", "--block-time", "1", "--host", "127.0.0.1"]);
            command.arg("--port").arg(port.to_string());
        });
        let node = Node::new(&format!("http://127.0.0.1:{port}"));
        let accounts = eventually("anvil answers", STARTED_WITHIN, async || {
            node.try_call("eth_accounts", json!([])).await
        })
        .await;
        let rich = accounts[0].as_str().unwrap().to_owned();
        Some(Self { node, rich, _process: process })
    }

    /// Gives an account plenty of the chain's own coin.
    ///
    /// # Panics
    /// The node refuses.
    pub async fn fund(&self, account: &str) {
        self.node.call("anvil_setBalance", json!([account, PLENTY_WEI])).await;
    }

    /// Deploys a token, gives an account so many base units of it, and says where it is.
    ///
    /// # Panics
    /// The node refuses.
    pub async fn deploy_token(&self, account: &str, units: u64) -> String {
        let code = format!("0x{}", token::TOKEN);
        let receipt = self.mined(json!([{ "from": self.rich, "data": code }])).await;
        let contract = receipt["contractAddress"].as_str().unwrap().to_owned();
        let data = format!("0xa9059cbb{}{units:064x}", word(account));
        let give = json!([{ "from": self.rich, "to": contract, "data": data }]);
        assert_eq!(self.mined(give).await["status"], "0x1");
        contract
    }

    async fn mined(&self, transaction: Value) -> Value {
        let hash = self.node.call("eth_sendTransaction", transaction).await;
        eventually("the transaction is mined", MINED_WITHIN, async || {
            let receipt = self.node.try_call("eth_getTransactionReceipt", json!([hash])).await?;
            if receipt.is_null() { Err("no receipt".into()) } else { Ok(receipt) }
        })
        .await
    }
}

fn binary() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("TIDEGATE_ANVIL") {
        return Some(PathBuf::from(named));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("anvil")).find(|file| file.is_file())
}
