//! Reading the parameters of a JSON-RPC call.

use alloy_primitives::{Address, B256, Bytes, U256, hex};
use serde_json::Value;

use super::reader::Reader;
use super::rpc::RpcError;

/// What `eth_call` and `eth_estimateGas` are asked about.
#[derive(Debug, Default)]
pub(super) struct CallRequest {
    pub(super) from: Address,
    pub(super) to: Option<Address>,
    pub(super) value: U256,
    pub(super) data: Bytes,
}

/// A block that a call names: its number, or that it is the pending one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockId {
    Number(u64),
    Pending,
}

impl BlockId {
    /// The block whose state is meant; for the pending one the newest.
    pub(super) fn state(self, chain: &Reader<'_>) -> u64 {
        match self {
            Self::Number(number) => number,
            Self::Pending => chain.head(),
        }
    }
}

fn text(params: &[Value], index: usize) -> Result<&str, RpcError> {
    params.get(index).and_then(Value::as_str).ok_or_else(|| {
        RpcError::invalid_params(format!("missing value for required argument {index}"))
    })
}

pub(super) fn address(params: &[Value], index: usize) -> Result<Address, RpcError> {
    parse_address(text(params, index)?)
}

fn parse_address(text: &str) -> Result<Address, RpcError> {
    text.parse().map_err(|_| RpcError::invalid_params(format!("{text:?} is not an address")))
}

pub(super) fn hash(params: &[Value], index: usize) -> Result<B256, RpcError> {
    let text = text(params, index)?;
    text.parse().map_err(|_| RpcError::invalid_params(format!("{text:?} is not a hash")))
}

pub(super) fn bytes(params: &[Value], index: usize) -> Result<Vec<u8>, RpcError> {
    parse_bytes(text(params, index)?)
}

fn parse_bytes(text: &str) -> Result<Vec<u8>, RpcError> {
    let digits = text
        .strip_prefix("0x")
        .ok_or_else(|| RpcError::invalid_params("hex string without 0x prefix"))?;
    hex::decode(digits).map_err(|_| RpcError::invalid_params("invalid hex string"))
}

pub(super) fn quantity(value: &Value) -> Result<U256, RpcError> {
    let parsed = match value {
        Value::String(text) => {
            text.strip_prefix("0x").and_then(|digits| U256::from_str_radix(digits, 16).ok())
        }
        Value::Number(number) => number.as_u64().map(U256::from),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    parsed.ok_or_else(|| RpcError::invalid_params("invalid hex quantity"))
}

fn number(value: &Value) -> Result<u64, RpcError> {
    u64::try_from(quantity(value)?).map_err(|_| RpcError::invalid_params("number too large"))
}

/// A tag, a number, or `{"blockHash": …}`; the newest block where there is none.
pub(super) fn block(
    chain: &Reader<'_>,
    params: &[Value],
    index: usize,
) -> Result<BlockId, RpcError> {
    block_of(chain, params.get(index).unwrap_or(&Value::Null))
}

pub(super) fn block_of(chain: &Reader<'_>, value: &Value) -> Result<BlockId, RpcError> {
    let head = chain.head();
    let tag = match value {
        Value::Null => "latest",
        Value::String(tag) => tag,
        Value::Object(fields) => {
            if let Some(number) = fields.get("blockNumber") {
                return block_of(chain, number);
            }
            let hash = hash(&[fields.get("blockHash").cloned().unwrap_or_default()], 0)?;
            let found = chain.find_block(hash).map(BlockId::Number);
            return found.ok_or_else(|| RpcError::new(-32000, "header not found"));
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => "",
    };
    Ok(match tag {
        "latest" => BlockId::Number(head),
        "safe" => tagged(head, chain.chain.finality.safe_depth, tag)?,
        "finalized" => tagged(head, chain.chain.finality.finalized_depth, tag)?,
        "earliest" => BlockId::Number(0),
        "pending" => BlockId::Pending,
        _ => BlockId::Number(number(value)?),
    })
}

/// In geth's words where the chain has no such block.
fn tagged(head: u64, depth: Option<u64>, tag: &str) -> Result<BlockId, RpcError> {
    let depth = depth.ok_or_else(|| RpcError::new(-32000, format!("{tag} block not found")))?;
    Ok(BlockId::Number(head.saturating_sub(depth)))
}

pub(super) fn call_request(params: &[Value]) -> Result<CallRequest, RpcError> {
    let Some(Value::Object(fields)) = params.first() else {
        return Err(RpcError::invalid_params("missing value for required argument 0"));
    };
    let given = |name: &str| fields.get(name).and_then(Value::as_str);
    let data = given("input").or_else(|| given("data")).map(parse_bytes).transpose()?;
    Ok(CallRequest {
        from: given("from").map(parse_address).transpose()?.unwrap_or_default(),
        to: given("to").map(parse_address).transpose()?,
        value: fields.get("value").map(quantity).transpose()?.unwrap_or_default(),
        data: data.unwrap_or_default().into(),
    })
}
