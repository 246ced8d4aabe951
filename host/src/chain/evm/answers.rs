//! What nodes' answers mean as values.

use alloy_primitives::{Address, B256, U256, hex};
use serde::Deserialize;
use serde_json::Value;

use super::convert::{parse_address, parse_hash};
use super::endpoint::Endpoint;
use super::evidence::{Log, Receipt};
use super::rpc::{Answer, RpcError, quantity};

pub(super) fn one(endpoint: &Endpoint, mut answers: Vec<Answer>) -> Result<Value, RpcError> {
    match answers.pop() {
        Some(answer) => answer.map_err(|refusal| endpoint.refused(refusal)),
        None => Err(endpoint.unreadable("no answer")),
    }
}

/// A number of 64 bits, such as a height or a nonce.
pub(super) fn number(
    endpoint: &Endpoint,
    answer: Answer,
    what: &'static str,
) -> Result<u64, RpcError> {
    let value = answer.map_err(|refusal| endpoint.refused(refusal))?;
    quantity(&value).ok_or_else(|| endpoint.unreadable(what))
}

/// The hash and the number of a block; none where the node does not have it.
pub(super) fn block(endpoint: &Endpoint, answer: Answer) -> Result<Option<(u64, B256)>, RpcError> {
    #[derive(Deserialize)]
    struct Block {
        number: String,
        hash: String,
    }
    let value = answer.map_err(|refusal| endpoint.refused(refusal))?;
    let unreadable = || endpoint.unreadable("eth_getBlockByNumber");
    let block: Option<Block> = serde_json::from_value(value).map_err(|_| unreadable())?;
    let Some(block) = block else { return Ok(None) };
    let number = quantity(&Value::String(block.number)).ok_or_else(unreadable)?;
    Ok(Some((number, parse_hash(&block.hash).ok_or_else(unreadable)?)))
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

pub(super) fn receipt(endpoint: &Endpoint, answer: Answer) -> Option<Receipt> {
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

pub(super) fn account_text(account: Address) -> String {
    format!("{account:#x}")
}

pub(super) fn hash_text(hash: B256) -> String {
    format!("{hash:#x}")
}

/// A quantity of up to 256 bits.
pub(super) fn wide(value: &Value) -> Option<U256> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    (1..=64).contains(&digits.len()).then(|| U256::from_str_radix(digits, 16).ok()).flatten()
}

/// One ABI word. An empty answer is an account without code: no such token.
pub(super) fn word(value: &Value) -> Option<U256> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    (digits.len() == 64).then(|| U256::from_str_radix(digits, 16).ok()).flatten()
}
