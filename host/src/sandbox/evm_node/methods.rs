//! The calls that only read.

use alloy_primitives::{B256, U256, hex, keccak256};
use serde_json::{Value, json};

use super::erc20::{self, Call};
use super::fault::ReceiptLie;
use super::params::{self, BlockId};
use super::reader::Reader;
use super::rpc::RpcError;
use super::view::{self, quantity};

/// What geth gives of the history of fees at once.
const FEE_HISTORY_MAX: u64 = 1024;

/// What `eth_getLogs` and `tidegate_transfers` answer at most.
const LOGS_MAX: usize = 10_000;

/// Code that is there, and that nobody runs: the opcode INVALID.
const TOKEN_CODE: &str = "0xfe";

pub(super) fn read(chain: &Reader<'_>, method: &str, params: &[Value]) -> Result<Value, RpcError> {
    match method {
        "eth_chainId" => Ok(quantity(chain_id(chain))),
        "net_version" => Ok(Value::from(chain_id(chain).to_string())),
        "web3_clientVersion" => Ok(Value::from(chain.node.profile.data().version)),
        "eth_syncing" => Ok(Value::Bool(false)),
        "eth_blockNumber" => Ok(quantity(chain.head())),
        "eth_gasPrice" => Ok(quantity(chain.base_fee(chain.head() + 1) + chain.chain.tip_wei)),
        "eth_maxPriorityFeePerGas" => Ok(quantity(chain.chain.tip_wei)),
        "eth_feeHistory" => fee_history(chain, params),
        "eth_getBlockByNumber" => {
            let id = params::block(chain, params, 0)?;
            Ok(view::block(chain, id, is_true(params, 1)))
        }
        "eth_getBlockByHash" => {
            let number = chain.find_block(params::hash(params, 0)?);
            Ok(number.map_or(Value::Null, |number| {
                view::block(chain, BlockId::Number(number), is_true(params, 1))
            }))
        }
        "eth_getTransactionCount" => transaction_count(chain, params),
        "eth_getBalance" => {
            let account = params::address(params, 0)?;
            let block = known_block(chain, params, 1)?;
            Ok(quantity(chain.ledger.balance_at(account, block)))
        }
        "eth_getCode" => {
            let is_token = chain.ledger.token(params::address(params, 0)?).is_some();
            Ok(Value::from(if is_token { TOKEN_CODE } else { "0x" }))
        }
        "eth_call" => call(chain, params),
        "eth_estimateGas" => estimate_gas(chain, params),
        "eth_getTransactionByHash" => Ok(view::transaction(chain, params::hash(params, 0)?)),
        "eth_getTransactionReceipt" => Ok(receipt(chain, params::hash(params, 0)?)),
        "eth_getLogs" => logs(chain, params),
        "tidegate_transfers" => Ok(json!(
            view::transfers(chain.chain, 0, chain.head()).take(LOGS_MAX).collect::<Vec<_>>()
        )),
        _ => Err(RpcError::new(
            -32601,
            format!("the method {method} does not exist/is not available"),
        )),
    }
}

fn chain_id(chain: &Reader<'_>) -> u64 {
    chain.node.troubles.chain_id.unwrap_or(chain.config.chain_id)
}

/// The receipt, or what the node says instead.
fn receipt(chain: &Reader<'_>, hash: B256) -> Value {
    let troubles = &chain.node.troubles;
    if troubles.chain_id.is_some() {
        return Value::Null;
    }
    let mut receipt = view::receipt(chain, hash);
    match troubles.receipts {
        None => {}
        Some(ReceiptLie::None) => return Value::Null,
        Some(ReceiptLie::Invented) if receipt.is_null() => {
            return view::invented_receipt(chain, hash);
        }
        Some(ReceiptLie::WrongStatus) if !receipt.is_null() => {
            let failed = receipt["status"] == "0x1";
            receipt["status"] = Value::from(if failed { "0x0" } else { "0x1" });
        }
        Some(ReceiptLie::WrongBlockHash) if !receipt.is_null() => {
            receipt["blockHash"] = Value::from(keccak256(hash).to_string());
        }
        Some(ReceiptLie::Invented | ReceiptLie::WrongStatus | ReceiptLie::WrongBlockHash) => {}
    }
    receipt
}

fn is_true(params: &[Value], index: usize) -> bool {
    params.get(index).and_then(Value::as_bool).unwrap_or(false)
}

/// The block whose state is asked for, which must be there.
fn known_block(chain: &Reader<'_>, params: &[Value], index: usize) -> Result<u64, RpcError> {
    let block = params::block(chain, params, index)?.state(chain);
    if block > chain.head() {
        return Err(RpcError::new(-32000, "header not found"));
    }
    Ok(block)
}

fn transaction_count(chain: &Reader<'_>, params: &[Value]) -> Result<Value, RpcError> {
    let account = params::address(params, 0)?;
    let nonce = match params::block(chain, params, 1)? {
        _ if chain.node.troubles.chain_id.is_some() => 0,
        BlockId::Pending if !chain.is_behind() => chain.pool.next_nonce(account, chain.ledger),
        BlockId::Pending => chain.ledger.nonce_at(account, chain.head()),
        BlockId::Number(_) => chain.ledger.nonce_at(account, known_block(chain, params, 1)?),
    };
    Ok(quantity(nonce))
}

fn fee_history(chain: &Reader<'_>, params: &[Value]) -> Result<Value, RpcError> {
    let count = params::quantity(params.first().unwrap_or(&Value::Null))?;
    let count = u64::try_from(count).unwrap_or(FEE_HISTORY_MAX).clamp(1, FEE_HISTORY_MAX);
    let newest = known_block(chain, params, 1)?;
    let oldest = (newest + 1).saturating_sub(count);
    let percentiles = params.get(2).and_then(Value::as_array).map_or(0, Vec::len).min(100);
    let headers: Vec<_> = (oldest..=newest).filter_map(|number| chain.header(number)).collect();
    // One more than blocks: the base fee of the next block is known already.
    let base_fees: Vec<Value> =
        (oldest..=newest + 1).map(|number| quantity(chain.base_fee(number))).collect();
    // A ratio is a number for people; nothing is computed from it.
    let block_gas_max = u32::try_from(chain.config.block_gas_max).unwrap_or(u32::MAX);
    let ratios: Vec<f64> = headers
        .iter()
        .map(|header| {
            f64::from(u32::try_from(header.gas_used).unwrap_or(u32::MAX))
                / f64::from(block_gas_max.max(1))
        })
        .collect();
    let mut history = json!({
        "oldestBlock": quantity(oldest),
        "baseFeePerGas": base_fees,
        "gasUsedRatio": ratios,
    });
    if percentiles > 0 {
        let rewards = vec![quantity(chain.chain.tip_wei); percentiles];
        history["reward"] = Value::from(vec![Value::from(rewards); headers.len()]);
    }
    Ok(history)
}

fn reverted(reason: &str) -> RpcError {
    // The encoding of `Error(string)`.
    let mut data = vec![0x08, 0xc3, 0x79, 0xa0];
    data.extend(erc20::encode_string(reason));
    RpcError {
        code: 3,
        message: format!("execution reverted: {reason}"),
        data: Some(hex::encode_prefixed(data)),
    }
}

fn call(chain: &Reader<'_>, params: &[Value]) -> Result<Value, RpcError> {
    let request = params::call_request(params)?;
    let block = known_block(chain, params, 1)?;
    let word = |value: U256| Value::from(hex::encode_prefixed(value.to_be_bytes::<32>()));
    let token = request.to.and_then(|to| chain.ledger.token(to));
    if let Some(token) = token {
        match erc20::decode(&request.data) {
            Some(Call::BalanceOf { account }) => return Ok(word(token.balance_at(account, block))),
            Some(Call::Decimals) => return Ok(word(U256::from(token.config.decimals))),
            Some(Call::Symbol) => {
                let encoded = erc20::encode_string(&token.config.symbol);
                return Ok(Value::from(hex::encode_prefixed(encoded)));
            }
            Some(Call::Transfer { .. }) | None => {}
        }
    }
    chain
        .ledger
        .try_call(request.from, request.to, request.value, &request.data, block)
        .map(|_| match (token, request.to) {
            (Some(_), Some(to)) => word(U256::from(chain.ledger.transfer_answers(to))),
            (Some(_) | None, _) => Value::from("0x"),
        })
        .map_err(reverted)
}

fn estimate_gas(chain: &Reader<'_>, params: &[Value]) -> Result<Value, RpcError> {
    let request = params::call_request(params)?;
    let block = known_block(chain, params, 1)?;
    let ledger = chain.ledger;
    if ledger.balance_at(request.from, block) < request.value {
        return Err(RpcError::new(-32000, "insufficient funds for transfer"));
    }
    ledger
        .try_call(request.from, request.to, request.value, &request.data, block)
        .map_err(reverted)?;
    Ok(quantity(ledger.gas_needed(request.to, &request.data)))
}

fn logs(chain: &Reader<'_>, params: &[Value]) -> Result<Value, RpcError> {
    let filter = params.first().cloned().unwrap_or_default();
    let (from, to) = if filter["blockHash"].is_null() {
        let from = params::block_of(chain, &filter["fromBlock"])?.state(chain);
        (from, params::block_of(chain, &filter["toBlock"])?.state(chain))
    } else {
        let number = params::block_of(chain, &json!({ "blockHash": filter["blockHash"] }))?;
        (number.state(chain), number.state(chain))
    };
    let matching: Vec<Value> = view::logs(chain, from, to)
        .filter(|log| {
            one_of(&filter["address"], &log["address"])
                && filter["topics"].as_array().is_none_or(|wanted| {
                    wanted.iter().enumerate().all(|(index, topic)| {
                        topic.is_null() || one_of(topic, &log["topics"][index])
                    })
                })
        })
        .take(LOGS_MAX + 1)
        .collect();
    if matching.len() > LOGS_MAX {
        return Err(RpcError::new(-32005, format!("query returned more than {LOGS_MAX} results")));
    }
    Ok(Value::from(matching))
}

/// Whether a filter's value, or one of its list, is this one; nothing means any.
fn one_of(wanted: &Value, given: &Value) -> bool {
    let equal = |wanted: &Value| match (wanted.as_str(), given.as_str()) {
        (Some(wanted), Some(given)) => wanted.eq_ignore_ascii_case(given),
        (Some(_) | None, Some(_) | None) => false,
    };
    match wanted {
        Value::Null => true,
        Value::Array(list) => list.iter().any(equal),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => equal(wanted),
    }
}
