//! The same module against a real node (anvil): signed, sent, mined, judged.

#[path = "../../../../tests/fixtures/token.rs"]
mod token;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, U256, hex};
use chrono::Utc;
use serde_json::{Value, json};

use super::testing::{FakeStore, a_lease, config, open, withdrawal_of};
use super::transaction::transfer_call;
use super::{ConfirmationPass, EvmChain, TransactionRequest};
use crate::domain::{SignedTransaction, WithdrawalId, WithdrawalStatus};

const NETWORK: &str = "eip155:31337";
const PAYEE: &str = "0x52908400098527886E0F7030069857D2E4169EE7";

struct Anvil {
    process: Child,
    url: String,
    client: reqwest::Client,
    /// An account with funds that the node signs for.
    rich: String,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn anvil_binary() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("TIDEGATE_ANVIL") {
        return Some(PathBuf::from(named));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("anvil")).find(|file| file.is_file())
}

impl Anvil {
    /// None, with a line that says so, where there is no anvil.
    async fn start() -> Option<Self> {
        let Some(binary) = anvil_binary() else {
            let how = "anvil is not in PATH, and TIDEGATE_ANVIL names none: \
                       npm install @foundry-rs/anvil";
            assert!(std::env::var_os("TIDEGATE_REQUIRE_ALL").is_none_or(|v| v != "1"), "{how}");
            eprintln!("skipped: {how}");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(binary)
            .args(["--silent", "--no-mining", "--host", "127.0.0.1", "--port"])
            .arg(port.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let client = super::rpc::client(&[], Duration::from_secs(5)).unwrap();
        let mut anvil = Self { process, url, client, rich: String::new() };
        let deadline = Instant::now() + Duration::from_secs(20);
        let accounts = loop {
            match anvil.try_call("eth_accounts", &json!([])).await {
                Some(accounts) => break accounts,
                None => assert!(Instant::now() < deadline, "anvil did not start"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        anvil.rich = accounts[0].as_str().unwrap().to_owned();
        Some(anvil)
    }

    async fn try_call(&self, method: &str, params: &Value) -> Option<Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let response = self.client.post(&self.url).json(&body).send().await.ok()?;
        Some(response.json::<Value>().await.ok()?["result"].clone())
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        self.try_call(method, &params).await.unwrap()
    }

    async fn mine(&self, blocks: u32) {
        self.call("anvil_mine", json!([format!("{blocks:#x}")])).await;
    }

    async fn send(&self, signed: &SignedTransaction) {
        let raw = hex::encode_prefixed(&signed.signed.raw);
        let hash = self.call("eth_sendRawTransaction", json!([raw])).await;
        assert_eq!(hash, json!(signed.signed.hash), "the node computes the hash that we stored");
    }

    /// Deploys a token and gives the account 10 whole units of it. Answers its address.
    async fn token(&self, code: &str, account: &str) -> String {
        let deploy = json!([{ "from": self.rich, "data": format!("0x{code}") }]);
        let hash = self.call("eth_sendTransaction", deploy).await;
        self.mine(1).await;
        let receipt = self.call("eth_getTransactionReceipt", json!([hash])).await;
        let contract = receipt["contractAddress"].as_str().unwrap().to_owned();
        let data = transfer_call(account.parse().unwrap(), U256::from(10_000_000));
        let give = json!([{
            "from": self.rich, "to": contract, "data": hex::encode_prefixed(data),
        }]);
        self.call("eth_sendTransaction", give).await;
        self.mine(1).await;
        contract
    }

    async fn coins(&self, address: &str) -> U256 {
        number(&self.call("eth_getBalance", json!([address, "latest"])).await)
    }

    async fn tokens(&self, contract: &str, owner: &str) -> U256 {
        let owner: Address = owner.parse().unwrap();
        let data = hex::encode_prefixed(super::transaction::balance_call(owner));
        let call = json!([{ "to": contract, "data": data }, "latest"]);
        number(&self.call("eth_call", call).await)
    }
}

fn number(value: &Value) -> U256 {
    U256::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

struct Bench {
    anvil: Anvil,
    chain: Arc<EvmChain>,
    store: Arc<FakeStore>,
    contract: String,
    _folder: tempfile::TempDir,
}

async fn bench(code: &str) -> Option<Bench> {
    let anvil = Anvil::start().await?;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(FakeStore::default());
    let urls = [anvil.url.clone()];
    let placeholder = "0x00000000000000000000000000000000000000cc";
    let account = open(config(folder.path(), NETWORK, &urls, placeholder), &store)
        .await
        .accounts()
        .next()
        .unwrap();
    anvil.call("anvil_setBalance", json!([account, "0x56bc75e2d63100000"])).await;
    // Tokens only; a token that says no gives none, so its ledger is written to directly.
    let contract = anvil.token(code, &account).await;
    let slot = format!("0x{:0>64}", account[2..].to_lowercase());
    let units = format!("0x{:064x}", 10_000_000);
    anvil.call("anvil_setStorageAt", json!([contract, slot, units])).await;
    anvil.mine(1).await;
    let chain = open(config(folder.path(), NETWORK, &urls, &contract), &store).await;
    Some(Bench { anvil, chain, store, contract, _folder: folder })
}

impl Bench {
    async fn sign(
        &self,
        asset: &str,
        max_fee_per_gas: u64,
        replace: Option<WithdrawalId>,
    ) -> SignedTransaction {
        let id = match replace {
            Some(id) => id,
            None => self.store.add(withdrawal_of(asset, NETWORK, "1.5", PAYEE)).await,
        };
        let native = asset == "ETH";
        let data = transfer_call(PAYEE.parse().unwrap(), U256::from(1_500_000));
        let request = TransactionRequest {
            chain_id: 31_337,
            to: if native { PAYEE.into() } else { self.contract.clone() },
            value: if native { "1500000000000000000".into() } else { "0".into() },
            data: if native { Vec::new() } else { data },
            gas_limit: if native { 21_000 } else { 100_000 },
            max_fee_per_gas: (max_fee_per_gas * 1_000_000_000).to_string(),
            max_priority_fee_per_gas: max_fee_per_gas.to_string(),
        };
        self.chain.sign(a_lease(), id, request, replace.is_some()).await.unwrap()
    }

    async fn pass(&self, seconds_from_now: i64) -> ConfirmationPass {
        let now = Utc::now() + chrono::Duration::seconds(seconds_from_now);
        self.chain.confirmation_pass(now).await.unwrap()
    }
}

#[tokio::test]
async fn on_a_real_node_coins_and_tokens_arrive_exactly_once_and_are_confirmed_at_the_depth() {
    let Some(bench) = bench(token::TOKEN).await else { return };
    let coins = bench.sign("ETH", 20, None).await;
    let tokens = bench.sign("USDT", 20, None).await;
    assert_eq!((coins.nonce, tokens.nonce), (0, 1));
    bench.anvil.send(&coins).await;
    // Nobody sent this one: the pass itself does.
    assert_eq!(bench.pass(31).await.resent, 2);
    assert_eq!(bench.pass(31).await, ConfirmationPass { looked_at: 2, ..Default::default() });
    bench.anvil.mine(2).await;
    assert_eq!(bench.pass(0).await.confirmed, 0, "mined, and two blocks deep");
    bench.anvil.mine(1).await;
    assert_eq!(bench.pass(0).await.confirmed, 2);
    for signed in [&coins, &tokens] {
        assert_eq!(bench.store.status(signed.withdrawal).await, WithdrawalStatus::Confirmed);
    }
    let received = bench.anvil.coins(PAYEE).await;
    assert_eq!(received, U256::from(1_500_000_000_000_000_000_u64));
    assert_eq!(bench.anvil.tokens(&bench.contract, PAYEE).await, U256::from(1_500_000));
    let left = bench.anvil.tokens(&bench.contract, &bench.chain.accounts().next().unwrap()).await;
    assert_eq!(left, U256::from(8_500_000));
}

#[tokio::test]
async fn on_a_real_node_a_replacement_takes_the_place_of_the_first_and_one_of_them_pays() {
    let Some(bench) = bench(token::TOKEN).await else { return };
    let first = bench.sign("ETH", 8, None).await;
    bench.anvil.send(&first).await;
    let second = bench.sign("ETH", 9, Some(first.withdrawal)).await;
    bench.anvil.send(&second).await;
    bench.anvil.mine(3).await;
    assert_eq!(bench.pass(0).await.confirmed, 1);
    let state = bench.store.state.lock().await;
    let ended = &state.payments[&first.withdrawal].withdrawal.state;
    assert_eq!(ended.tx_hash(), Some(second.signed.hash.as_str()));
    let received = bench.anvil.coins(PAYEE).await;
    assert_eq!(received, U256::from(1_500_000_000_000_000_000_u64), "once");
}

#[tokio::test]
async fn on_a_real_node_a_token_that_says_no_without_reverting_fails_the_withdrawal() {
    let Some(bench) = bench(token::TOKEN_THAT_SAYS_NO).await else { return };
    let signed = bench.sign("USDT", 20, None).await;
    bench.anvil.send(&signed).await;
    bench.anvil.mine(2).await;
    assert_eq!(bench.pass(0).await.failed, 0);
    bench.anvil.mine(1).await;
    assert_eq!(bench.pass(0).await.failed, 1);
    assert_eq!(bench.store.status(signed.withdrawal).await, WithdrawalStatus::Failed);
    assert_eq!(bench.anvil.tokens(&bench.contract, PAYEE).await, U256::ZERO);
}

#[tokio::test]
async fn on_a_real_node_a_payment_that_a_reorganisation_took_back_is_sent_again_and_confirmed() {
    let Some(bench) = bench(token::TOKEN).await else { return };
    let signed = bench.sign("ETH", 20, None).await;
    bench.anvil.send(&signed).await;
    bench.anvil.mine(2).await;
    assert_eq!(bench.pass(0).await.confirmed, 0);
    bench.anvil.call("anvil_reorg", json!([2, []])).await;
    bench.anvil.mine(1).await;
    bench.anvil.call("anvil_dropAllTransactions", json!([])).await;
    let receipt = bench.anvil.call("eth_getTransactionReceipt", json!([signed.signed.hash])).await;
    assert_eq!(receipt, Value::Null, "the payment is gone");
    let pass = bench.pass(31).await;
    assert_eq!((pass.confirmed, pass.failed, pass.resent), (0, 0, 1));
    bench.anvil.mine(3).await;
    assert_eq!(bench.pass(62).await.confirmed, 1);
    let received = bench.anvil.coins(PAYEE).await;
    assert_eq!(received, U256::from(1_500_000_000_000_000_000_u64), "once");
}
