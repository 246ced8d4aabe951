//! The same conversation with a real node and with the stand-in that has its profile. What they
//! answer must be the same, but for what `differences` lists.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, U256, hex};
use serde_json::{Value, json};

use super::ClientProfile;
use super::differences::DIFFERENCES;
use crate::sandbox::evm_node::chain_tests::{Wallet, gwei, payment, transfer_call};
use crate::sandbox::evm_node::{ChainConfig, EvmNetwork, NodeAnswer};
use crate::sandbox::{Clock, testing};

const TO: Address = Address::repeat_byte(0xbb);
const STARTED_WITHIN: Duration = Duration::from_secs(60);

/// What the conversation is held with.
enum Partner {
    Real { process: Child, door: testing::Door, prefix: &'static str },
    StandIn(EvmNetwork),
}

impl Drop for Partner {
    fn drop(&mut self) {
        if let Self::Real { process, .. } = self {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

impl Partner {
    /// None, with a line that says so, where the program is not there.
    async fn real(profile: ClientProfile) -> Option<Self> {
        let (name, arguments, prefix): (_, &[&str], _) = match profile {
            ClientProfile::Anvil => ("anvil", &["--silent", "--no-mining", "--host"], "anvil"),
            _ => ("hardhat", &["node", "--hostname"], "hardhat"),
        };
        let Some(binary) = in_path(name) else {
            let how = format!("{name} is not in PATH: run tests/install");
            assert!(std::env::var_os("TIDEGATE_REQUIRE_ALL").is_none_or(|v| v != "1"), "{how}");
            eprintln!("skipped: {how}");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(binary)
            .args(arguments)
            .args(["127.0.0.1", "--port", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let door = testing::door(&format!("http://127.0.0.1:{port}"));
        let partner = Self::Real { process, door, prefix };
        let deadline = Instant::now() + STARTED_WITHIN;
        while partner.try_call("eth_chainId", json!([])).await.is_none() {
            assert!(Instant::now() < deadline, "{name} did not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if prefix == "hardhat" {
            partner.call("evm_setAutomine", json!([false])).await;
            partner.call("evm_setIntervalMining", json!([0])).await;
        }
        Some(partner)
    }

    fn stand_in(profile: ClientProfile) -> Self {
        let clock = Clock::Manual(std::sync::Arc::default());
        Self::StandIn(EvmNetwork::in_memory(ChainConfig::default(), &[profile], clock))
    }

    async fn try_call(&self, method: &str, params: Value) -> Option<Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        match self {
            Self::Real { door, .. } => {
                Some(door.send(door.request("POST", "/").json(&body)).await.ok()?.2)
            }
            Self::StandIn(network) => match network.answer(0, body.to_string().as_bytes()).await {
                NodeAnswer::Body { body, .. } => serde_json::from_slice(&body).ok(),
                NodeAnswer::Cut => None,
            },
        }
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        self.try_call(method, params).await.unwrap()
    }

    /// One ether, and the base fee of one gwei that all tests reckon with.
    async fn fund(&self, account: Address) {
        let wei = U256::from(10).pow(U256::from(18));
        match self {
            Self::Real { prefix, .. } => {
                let params = json!([account.to_string(), format!("{wei:#x}")]);
                let answer = self.call(&format!("{prefix}_setBalance"), params).await;
                assert!(answer.get("error").is_none(), "{answer}");
            }
            Self::StandIn(network) => network.fund(account, wei).unwrap(),
        }
    }

    async fn mine(&self) {
        match self {
            Self::Real { prefix, .. } => {
                self.call(&format!("{prefix}_mine"), json!(["0x1"])).await;
                self.set_base_fee().await;
            }
            Self::StandIn(network) => network.pass_blocks(1),
        }
    }

    async fn set_base_fee(&self) {
        if let Self::Real { prefix, .. } = self {
            let method = format!("{prefix}_setNextBlockBaseFeePerGas");
            self.call(&method, json!(["0x3b9aca00"])).await;
        }
    }
}

/// What was asked, and in short what was answered.
struct Conversation<'a> {
    partner: &'a Partner,
    told: Vec<(&'static str, String)>,
}

impl Conversation<'_> {
    fn note(&mut self, step: &'static str, answer: String) {
        self.told.push((step, answer));
    }

    async fn send_raw(&mut self, step: &'static str, raw: &[u8]) -> Value {
        let params = json!([hex::encode_prefixed(raw)]);
        let answer = self.partner.call("eth_sendRawTransaction", params).await;
        self.note(step, summary(&answer, |_| "taken".to_owned()));
        answer["result"].clone()
    }

    async fn send(&mut self, step: &'static str, wallet: &Wallet, transaction: TxEip1559) -> Value {
        self.send_raw(step, &wallet.sign(transaction)).await
    }

    /// A read whose whole result is compared.
    async fn read(&mut self, step: &'static str, method: &str, params: Value) {
        let answer = self.partner.call(method, params).await;
        self.note(step, summary(&answer, Value::to_string));
    }

    /// A read of which these fields are compared.
    async fn read_fields(&mut self, step: &'static str, method: &str, params: Value, of: &[&str]) {
        let answer = self.partner.call(method, params).await;
        let fields = |result: &Value| {
            of.iter()
                .map(|field| format!("{field} {}", result[field]))
                .collect::<Vec<_>>()
                .join(", ")
        };
        self.note(step, summary(&answer, fields));
    }

    async fn account(&self, seed: u8) -> Wallet {
        let wallet = Wallet::new(seed);
        self.partner.fund(wallet.address).await;
        wallet
    }
}

fn summary(answer: &Value, of_result: impl Fn(&Value) -> String) -> String {
    match answer.get("error") {
        Some(error) => {
            format!("{} {}", error["code"], error["message"].as_str().unwrap_or_default())
        }
        None => of_result(&answer["result"]),
    }
}

fn fees(nonce: u64, value: u64, fee: u128, tip: u128) -> TxEip1559 {
    TxEip1559 { max_fee_per_gas: fee, max_priority_fee_per_gas: tip, ..payment(nonce, TO, value) }
}

async fn replacements(talk: &mut Conversation<'_>) {
    let (fee, tip) = (3_000_000_001, 1_000_000_001);
    for (seed, step, new_fee, new_tip) in [
        (11, "a replacement with the same fees", fee, tip),
        (12, "a replacement with one wei more of both", fee + 1, tip + 1),
        (13, "a replacement with ten percent, rounded down", 3_300_000_001, 1_100_000_001),
        (14, "a replacement with ten percent, rounded up", 3_300_000_002, 1_100_000_002),
        (15, "a replacement with twice the fee and the same tip", 2 * fee, tip),
        (16, "a replacement with the same fee and twice the tip", fee, 2 * tip),
        (17, "a replacement with less of both", fee - 1, tip - 1),
    ] {
        let wallet = talk.account(seed).await;
        talk.send("a payment that is replaced", &wallet, fees(0, 1, fee, tip)).await;
        talk.send(step, &wallet, fees(0, 2, new_fee, new_tip)).await;
    }
}

async fn refusals(talk: &mut Conversation<'_>) {
    let wallet = talk.account(21).await;
    let with = |change: fn(&mut TxEip1559)| {
        let mut transaction = payment(0, TO, 1);
        change(&mut transaction);
        transaction
    };
    for (step, transaction) in [
        ("less gas than any transaction uses", with(|t| t.gas_limit = 20_999)),
        (
            "less gas than the data's floor",
            with(|t| {
                t.input = vec![1; 100].into();
                t.gas_limit = 23_000;
            }),
        ),
        ("more gas than a block has", with(|t| t.gas_limit = 70_000_000)),
        ("a tip above the fee", with(|t| t.max_priority_fee_per_gas = gwei(4))),
        (
            "a fee below the base fee",
            with(|t| {
                t.max_fee_per_gas = 999_999_999;
                t.max_priority_fee_per_gas = 1;
            }),
        ),
        ("another chain's id", with(|t| t.chain_id = 5)),
        (
            "more value than the account has",
            with(|t| {
                t.value = U256::from(10).pow(U256::from(18));
            }),
        ),
    ] {
        talk.send(step, &wallet, transaction).await;
    }
    talk.send_raw("bytes that are no transaction", &[2, 1, 2, 3]).await;
    let wallet = talk.account(22).await;
    talk.send("a fee of nothing above the base fee", &wallet, fees(0, 1, gwei(1), 0)).await;
    let wallet = talk.account(23).await;
    let half = 600_000_000_000_000_000;
    talk.send("more than half of what there is", &wallet, payment(0, TO, half)).await;
    talk.send("and once more than half of it", &wallet, payment(1, TO, half)).await;
    let wallet = talk.account(24).await;
    talk.send("a nonce above a gap", &wallet, payment(5, TO, 1)).await;
    talk.send("the same bytes above a gap again", &wallet, payment(5, TO, 1)).await;
}

async fn a_life(talk: &mut Conversation<'_>) {
    let wallet = talk.account(31).await;
    let account = wallet.address.to_string();
    let hash = talk.send("a payment", &wallet, payment(0, TO, 5)).await;
    talk.send("the same bytes again", &wallet, payment(0, TO, 5)).await;
    let count = |tag: &str| json!([account, tag]);
    talk.read("the nonce while it waits", "eth_getTransactionCount", count("latest")).await;
    talk.read("the pending nonce", "eth_getTransactionCount", count("pending")).await;
    talk.read("the receipt while it waits", "eth_getTransactionReceipt", json!([hash])).await;
    let fields = ["hash", "blockHash", "nonce", "value", "type"];
    talk.read_fields("what waits", "eth_getTransactionByHash", json!([hash]), &fields).await;
    talk.partner.mine().await;
    let fields = ["transactionHash", "status", "type", "gasUsed", "effectiveGasPrice", "logs"];
    talk.read_fields("the receipt", "eth_getTransactionReceipt", json!([hash]), &fields).await;
    talk.read("the nonce afterwards", "eth_getTransactionCount", count("latest")).await;
    talk.read("the nonce at genesis", "eth_getTransactionCount", count("0x0")).await;
    talk.send("the same bytes after they were mined", &wallet, payment(0, TO, 5)).await;
    talk.send("other bytes of a used nonce", &wallet, payment(0, TO, 6)).await;
    talk.read("what was paid", "eth_getBalance", json!([TO.to_string(), "latest"])).await;
    let mut call = payment(1, Address::repeat_byte(0x71), 0);
    call.input = transfer_call(TO, 1).into();
    call.gas_limit = 60_000;
    talk.send("data for an account without code", &wallet, call).await;
}

async fn reads(talk: &mut Conversation<'_>) {
    let wallet = talk.account(41).await;
    let transfer =
        json!({ "from": wallet.address.to_string(), "to": TO.to_string(), "value": "0x1" });
    talk.read("the chain's id", "eth_chainId", json!([])).await;
    talk.read("the gas of a transfer", "eth_estimateGas", json!([transfer])).await;
    let poor = json!([{ "from": TO.to_string(), "to": wallet.address.to_string(), "value": format!("{:#x}", U256::from(10).pow(U256::from(30))) }]);
    talk.read("the gas of what cannot be paid", "eth_estimateGas", poor).await;
    talk.read(
        "a receipt of nothing",
        "eth_getTransactionReceipt",
        json!([format!("0x{:064x}", 1)]),
    )
    .await;
    talk.read("a block above the head", "eth_getBlockByNumber", json!(["0xffffff", false])).await;
    let genesis = ["number", "parentHash", "transactions"];
    talk.read_fields("the first block", "eth_getBlockByNumber", json!(["0x0", true]), &genesis)
        .await;
    talk.read_fields(
        "the final block",
        "eth_getBlockByNumber",
        json!(["finalized", false]),
        &["transactions"],
    )
    .await;
    talk.read_fields(
        "the history of fees",
        "eth_feeHistory",
        json!(["0x1", "0x0", [50]]),
        &["oldestBlock"],
    )
    .await;
    talk.read("an unknown method", "eth_nonsense", json!([])).await;
    talk.read("a malformed address", "eth_getBalance", json!(["0x12", "latest"])).await;
}

async fn hold(partner: &Partner) -> Vec<(&'static str, String)> {
    partner.set_base_fee().await;
    let mut talk = Conversation { partner, told: Vec::new() };
    reads(&mut talk).await;
    a_life(&mut talk).await;
    replacements(&mut talk).await;
    refusals(&mut talk).await;
    talk.told
}

async fn compare(profile: ClientProfile) {
    let Some(real) = Partner::real(profile).await else { return };
    let real = hold(&real).await;
    let stand_in = hold(&Partner::stand_in(profile)).await;
    let listed: Vec<_> = DIFFERENCES.iter().filter(|one| one.profile == profile).collect();
    let (mut faults, mut met) = (Vec::new(), 0);
    for ((step, real), (_, stand_in)) in real.iter().zip(&stand_in) {
        let known = listed.iter().find(|one| one.step == *step);
        match known {
            Some(one) if one.real == real && one.stand_in == stand_in => met += 1,
            _ if real == stand_in && known.is_none() => {}
            _ => faults.push(format!("{step}\n    real:     {real}\n    stand-in: {stand_in}")),
        }
    }
    println!("{profile:?}: {} steps, {met} known differences", real.len());
    assert!(faults.is_empty(), "{profile:?}:\n{}", faults.join("\n"));
    assert_eq!(met, listed.len(), "{profile:?}: a difference that is listed is no more");
}

#[tokio::test]
async fn the_profile_of_anvil_answers_as_anvil_does() {
    compare(ClientProfile::Anvil).await;
}

#[tokio::test]
async fn the_profile_of_hardhat_answers_as_hardhat_does() {
    compare(ClientProfile::Hardhat).await;
}
