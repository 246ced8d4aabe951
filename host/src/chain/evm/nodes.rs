//! The host's nodes for one network: which one is asked, and what their answers mean as values.
//!
//! A read goes to the first node that answers. A quorum, where a decision should depend on several
//! nodes, belongs into [`Nodes::read`] and nowhere else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use alloy_primitives::{Address, B256, U256, hex};
use serde::Deserialize;
use serde_json::{Value, json};

use super::convert::{parse_address, parse_hash};
use super::evidence::{CanonicalView, Log, Receipt};
use super::rpc::{Answer, BATCH_MAX, Call, Endpoint, RpcError, quantity};
use super::rules::Balances;
use super::transaction::balance_call;

#[derive(Debug)]
pub(super) struct Nodes {
    /// Never empty.
    endpoints: Vec<Endpoint>,
    /// The one that answered last: a node that is away is not waited for on each call.
    preferred: AtomicUsize,
}

impl Nodes {
    pub(super) fn new(endpoints: Vec<Endpoint>) -> Self {
        Self { endpoints, preferred: AtomicUsize::new(0) }
    }

    /// The account's next nonce on the chain, counting mined transactions only.
    pub(super) async fn transaction_count(&self, account: Address) -> Result<u64, RpcError> {
        let call = Call {
            method: "eth_getTransactionCount",
            params: json!([account_text(account), "latest"]),
        };
        self.read(&[call], |endpoint, answers| {
            let value = one(endpoint, answers)?;
            quantity(&value).ok_or_else(|| endpoint.unreadable("eth_getTransactionCount"))
        })
        .await
    }

    pub(super) async fn balances(
        &self,
        account: Address,
        contract: Option<Address>,
    ) -> Result<Balances, RpcError> {
        let mut calls = vec![Call {
            method: "eth_getBalance",
            params: json!([account_text(account), "latest"]),
        }];
        if let Some(contract) = contract {
            let data = hex::encode_prefixed(balance_call(account));
            let call = json!({ "to": account_text(contract), "data": data });
            calls.push(Call { method: "eth_call", params: json!([call, "latest"]) });
        }
        self.read(&calls, |endpoint, mut answers| {
            let token = match contract {
                None => U256::ZERO,
                Some(_) => {
                    let value = one(endpoint, answers.split_off(1))?;
                    word(&value).ok_or_else(|| endpoint.unreadable("balanceOf"))?
                }
            };
            let value = one(endpoint, answers)?;
            let native = wide(&value).ok_or_else(|| endpoint.unreadable("eth_getBalance"))?;
            Ok(Balances { native, token })
        })
        .await
    }

    /// The receipts of these transactions, in their order; none where the node has none, or says
    /// something about it that is no receipt. Neither is evidence.
    pub(super) async fn receipts(&self, hashes: &[B256]) -> Result<Vec<Option<Receipt>>, RpcError> {
        let calls: Vec<Call> = hashes
            .iter()
            .map(|hash| Call {
                method: "eth_getTransactionReceipt",
                params: json!([hash_text(*hash)]),
            })
            .collect();
        let mut receipts = Vec::with_capacity(hashes.len());
        for chunk in calls.chunks(BATCH_MAX) {
            let found = self.read(chunk, |endpoint, answers| {
                Ok(answers.into_iter().map(|answer| receipt(endpoint, answer)).collect::<Vec<_>>())
            });
            receipts.extend(found.await?);
        }
        Ok(receipts)
    }

    /// The canonical hashes at these heights, and the head. The head is asked for first, in the
    /// same request to the same node: a block whose hash is read afterwards is at least as deep as
    /// that head says. The other way round, a block could be replaced after its hash was read, and
    /// seem deep under a head that stands on its replacement.
    pub(super) async fn canonical(&self, numbers: &[u64]) -> Result<CanonicalView, RpcError> {
        let mut lowest_head: Option<u64> = None;
        let mut hashes = BTreeMap::new();
        for chunk in numbers.chunks(BATCH_MAX - 1) {
            let mut calls = vec![Call { method: "eth_blockNumber", params: json!([]) }];
            calls.extend(chunk.iter().map(|number| Call {
                method: "eth_getBlockByNumber",
                params: json!([format!("{number:#x}"), false]),
            }));
            let read =
                self.read(&calls, |endpoint, answers| canonical_part(endpoint, chunk, answers));
            let part = read.await?;
            // Several requests may meet several heads; the lowest claims the least.
            lowest_head = Some(lowest_head.map_or(part.head, |head| head.min(part.head)));
            hashes.extend(part.hashes);
        }
        Ok(CanonicalView { head: lowest_head.unwrap_or(0), hashes })
    }

    /// Sends stored bytes again, to every node. What they answer proves nothing, so it is only
    /// logged; the receipt decides.
    pub(super) async fn send_again(&self, transactions: &[(B256, Vec<u8>)]) {
        for endpoint in &self.endpoints {
            for chunk in transactions.chunks(BATCH_MAX) {
                let calls: Vec<Call> = chunk
                    .iter()
                    .map(|(_, raw)| Call {
                        method: "eth_sendRawTransaction",
                        params: json!([hex::encode_prefixed(raw)]),
                    })
                    .collect();
                match endpoint.batch(&calls).await {
                    Ok(answers) => log_answers(endpoint, chunk, &answers),
                    Err(error) => {
                        tracing::debug!(%error, "stored transactions were not sent again");
                        break;
                    }
                }
            }
        }
    }

    /// Asks the nodes in turn, from the one that answered last, until one gives an answer that
    /// `decode` takes. Each is asked once.
    async fn read<T>(
        &self,
        calls: &[Call],
        decode: impl Fn(&Endpoint, Vec<Answer>) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        let count = self.endpoints.len();
        let first = self.preferred.load(Ordering::Relaxed);
        let mut last_error = None;
        for index in (first..first + count).map(|index| index % count) {
            let endpoint = &self.endpoints[index];
            let answered = endpoint.batch(calls).await;
            match answered.and_then(|answers| decode(endpoint, answers)) {
                Ok(value) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(value);
                }
                Err(error) => {
                    tracing::debug!(%error, "a node was passed over");
                    last_error = Some(error);
                }
            }
        }
        Err(last_error.unwrap_or_else(|| RpcError::Transport {
            node: "(none)".into(),
            cause: "no node is configured".into(),
        }))
    }
}

fn canonical_part(
    endpoint: &Endpoint,
    numbers: &[u64],
    mut answers: Vec<Answer>,
) -> Result<CanonicalView, RpcError> {
    #[derive(Deserialize)]
    struct Block {
        hash: String,
    }
    let of_blocks = answers.split_off(answers.len().min(1));
    let head = one(endpoint, answers)?;
    let head = quantity(&head).ok_or_else(|| endpoint.unreadable("eth_blockNumber"))?;
    let mut hashes = BTreeMap::new();
    for (number, answer) in numbers.iter().zip(of_blocks) {
        let value = answer.map_err(|refusal| endpoint.refused(refusal))?;
        // A height that the node does not have yet is null: no hash, so nothing is canonical there.
        let block: Option<Block> = serde_json::from_value(value)
            .map_err(|_| endpoint.unreadable("eth_getBlockByNumber"))?;
        let Some(block) = block else { continue };
        let hash = parse_hash(&block.hash).ok_or_else(|| endpoint.unreadable("a block's hash"))?;
        hashes.insert(*number, hash);
    }
    Ok(CanonicalView { head, hashes })
}

fn one(endpoint: &Endpoint, mut answers: Vec<Answer>) -> Result<Value, RpcError> {
    match answers.pop() {
        Some(answer) => answer.map_err(|refusal| endpoint.refused(refusal)),
        None => Err(endpoint.unreadable("no answer")),
    }
}

fn log_answers(endpoint: &Endpoint, sent: &[(B256, Vec<u8>)], answers: &[Answer]) {
    for ((hash, _), answer) in sent.iter().zip(answers) {
        let answer = match answer {
            Ok(_) => "taken".to_owned(),
            Err(refusal) => refusal.to_string(),
        };
        tracing::debug!(tx.hash = %hash, node = endpoint.label(), answer, "sent again");
    }
}

/// The parts of a receipt that are judged, as JSON-RPC has them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawReceipt {
    transaction_hash: String,
    // Null while a node shows a pending transaction: then it is not mined.
    block_number: Option<String>,
    block_hash: Option<String>,
    from: String,
    status: String,
    logs: Vec<RawLog>,
}

#[derive(Deserialize)]
struct RawLog {
    address: String,
    topics: Vec<String>,
    data: String,
    #[serde(default)]
    removed: bool,
}

fn receipt(endpoint: &Endpoint, answer: Answer) -> Option<Receipt> {
    let value = match answer {
        Ok(Value::Null) => return None,
        Ok(value) => value,
        Err(refusal) => {
            // Such as "transaction indexing is in progress".
            tracing::debug!(node = endpoint.label(), %refusal, "no receipt could be read");
            return None;
        }
    };
    let parsed = serde_json::from_value(value).ok().and_then(from_raw);
    if parsed.is_none() {
        tracing::warn!(node = endpoint.label(), "a receipt could not be understood; passed over");
    }
    parsed
}

fn from_raw(raw: RawReceipt) -> Option<Receipt> {
    let succeeded = match raw.status.as_str() {
        "0x1" => true,
        "0x0" => false,
        _ => return None,
    };
    let logs = raw.logs.iter().filter(|log| !log.removed).map(log_from_raw).collect::<Option<_>>();
    Some(Receipt {
        tx_hash: parse_hash(&raw.transaction_hash)?,
        block_number: quantity(&Value::String(raw.block_number?))?,
        block_hash: parse_hash(&raw.block_hash?)?,
        from: parse_address(&raw.from)?,
        succeeded,
        logs: logs?,
    })
}

fn log_from_raw(raw: &RawLog) -> Option<Log> {
    Some(Log {
        address: parse_address(&raw.address)?,
        topics: raw.topics.iter().map(|topic| parse_hash(topic)).collect::<Option<_>>()?,
        data: hex::decode(&raw.data).ok()?,
    })
}

fn account_text(account: Address) -> String {
    format!("{account:#x}")
}

fn hash_text(hash: B256) -> String {
    format!("{hash:#x}")
}

/// A quantity of up to 256 bits.
fn wide(value: &Value) -> Option<U256> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    (1..=64).contains(&digits.len()).then(|| U256::from_str_radix(digits, 16).ok()).flatten()
}

/// One ABI word. An empty answer is an account without code: no such token.
fn word(value: &Value) -> Option<U256> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    (digits.len() == 64).then(|| U256::from_str_radix(digits, 16).ok()).flatten()
}
