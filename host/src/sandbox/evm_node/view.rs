//! Blocks, transactions and receipts as JSON-RPC shows them.

use alloy_consensus::{Transaction, Typed2718};
use alloy_primitives::{Address, B256, U256, hex};
use serde::Serialize;
use serde_json::{Value, json};

use super::block::{Header, MinedTransaction};
use super::chain::Chain;
use super::erc20::TRANSFER_TOPIC;
use super::ledger::Movement;
use super::params::BlockId;
use super::reader::Reader;
use super::transaction::Decoded;

const ZERO_HASH: B256 = B256::ZERO;

pub(super) fn quantity(value: impl TryInto<U256>) -> Value {
    value.try_into().map_or(Value::Null, |value| Value::from(format!("{value:#x}")))
}

pub(super) fn hash(hash: B256) -> Value {
    Value::from(hash.to_string())
}

fn address(address: Address) -> Value {
    Value::from(hex::encode_prefixed(address))
}

fn bloom() -> Value {
    Value::from(format!("0x{}", "0".repeat(512)))
}

/// A payment that was mined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transfer {
    /// Checksummed, as all addresses here.
    pub from: String,
    pub to: String,
    /// The token's symbol; `ETH` for the chain's own coin.
    pub asset: String,
    /// The token's contract; none for the chain's own coin.
    pub contract: Option<String>,
    /// In base units, decimal.
    pub amount: String,
    pub tx_hash: String,
    pub block: u64,
    pub nonce: u64,
}

/// What was paid in these blocks, oldest first. What was reverted is not there.
pub(super) fn transfers(
    chain: &Chain,
    from: u64,
    to: u64,
) -> impl Iterator<Item = Transfer> + use<'_> {
    chain.blocks_between(from, to).flat_map(move |(number, block)| {
        block.transactions.iter().flat_map(move |mined| transfers_of(chain, number, mined))
    })
}

/// What one transaction paid.
pub(super) fn transfers_of<'a>(
    chain: &'a Chain,
    block: u64,
    mined: &'a MinedTransaction,
) -> impl Iterator<Item = Transfer> + use<'a> {
    mined.execution.movements.iter().map(move |movement| {
        let symbol = movement
            .contract
            .and_then(|contract| chain.ledger.token(contract))
            .map_or("ETH", |token| token.config.symbol.as_str());
        Transfer {
            from: movement.from.to_string(),
            to: movement.to.to_string(),
            asset: symbol.to_owned(),
            contract: movement.contract.map(|contract| contract.to_string()),
            amount: movement.amount.to_string(),
            tx_hash: mined.transaction.hash.to_string(),
            block,
            nonce: mined.transaction.nonce(),
        }
    })
}

pub(super) fn block(chain: &Reader<'_>, id: BlockId, full: bool) -> Value {
    let number = match id {
        BlockId::Number(number) => number,
        BlockId::Pending => return pending_block(chain),
    };
    let Some(header) = chain.header(number) else { return Value::Null };
    let transactions: Vec<Value> = chain
        .transactions(number)
        .iter()
        .enumerate()
        .map(|(index, mined)| {
            if full {
                transaction_view(&mined.transaction, Some((&header, index, mined)))
            } else {
                Value::from(mined.transaction.hash.to_string())
            }
        })
        .collect();
    let mut view = header_view(chain, &header);
    view["transactions"] = Value::from(transactions);
    view
}

/// The block after the newest, as far as it is known: it has no hash yet.
fn pending_block(chain: &Reader<'_>) -> Value {
    let Some(head) = chain.header(chain.head()) else { return Value::Null };
    let next = Header {
        number: head.number + 1,
        parent_hash: head.hash,
        base_fee: chain.base_fee(head.number + 1),
        gas_used: 0,
        ..head
    };
    let mut view = header_view(chain, &next);
    for unknown in ["hash", "nonce", "miner"] {
        view[unknown] = Value::Null;
    }
    view["transactions"] = json!([]);
    view
}

fn header_view(chain: &Reader<'_>, header: &Header) -> Value {
    let zero = ZERO_HASH.to_string();
    json!({
        "number": quantity(header.number),
        "hash": header.hash.to_string(),
        "parentHash": header.parent_hash.to_string(),
        "timestamp": quantity(header.timestamp_s),
        "baseFeePerGas": quantity(header.base_fee),
        "gasLimit": quantity(chain.config.block_gas_max),
        "gasUsed": quantity(header.gas_used),
        "transactionsRoot": header.transactions_root.to_string(),
        "stateRoot": zero,
        "receiptsRoot": zero,
        "mixHash": zero,
        "sha3Uncles": zero,
        "logsBloom": bloom(),
        "miner": address(Address::ZERO),
        "nonce": "0x0000000000000000",
        "difficulty": "0x0",
        "extraData": "0x",
        "size": "0x0",
        "uncles": [],
    })
}

pub(super) fn transaction(chain: &Reader<'_>, hash: B256) -> Value {
    if let Some((number, index, mined)) = chain.find_mined(&hash)
        && let Some(header) = chain.header(number)
    {
        return transaction_view(&mined.transaction, Some((&header, index, mined)));
    }
    chain.pool.get(&hash).map_or(Value::Null, |waiting| transaction_view(waiting, None))
}

fn transaction_view(
    transaction: &Decoded,
    mined: Option<(&Header, usize, &MinedTransaction)>,
) -> Value {
    let envelope = &transaction.envelope;
    let signature = envelope.signature();
    let price = mined.map_or_else(|| transaction.fee_max(), |(_, _, mined)| mined.price);
    let mut view = json!({
        "hash": transaction.hash.to_string(),
        "type": quantity(u64::from(envelope.ty())),
        "chainId": envelope.chain_id().map(quantity),
        "from": address(transaction.sender),
        "to": envelope.to().map(address),
        "nonce": quantity(transaction.nonce()),
        "value": quantity(envelope.value()),
        "input": hex::encode_prefixed(envelope.input()),
        "gas": quantity(envelope.gas_limit()),
        "gasPrice": quantity(price),
        "r": quantity(signature.r()),
        "s": quantity(signature.s()),
        "v": quantity(u64::from(signature.v())),
        "yParity": quantity(u64::from(signature.v())),
        "blockHash": mined.map(|(header, _, _)| header.hash.to_string()),
        "blockNumber": mined.map(|(header, _, _)| quantity(header.number)),
        "transactionIndex": mined.map(|(_, index, _)| quantity(index as u64)),
    });
    if envelope.is_dynamic_fee() {
        view["maxFeePerGas"] = quantity(transaction.fee_max());
        view["maxPriorityFeePerGas"] = quantity(transaction.tip_max());
        view["accessList"] = json!([]);
    }
    view
}

pub(super) fn receipt(chain: &Reader<'_>, hash: B256) -> Value {
    let Some((number, index, mined)) = chain.find_mined(&hash) else { return Value::Null };
    let Some(header) = chain.header(number) else { return Value::Null };
    let before = chain.transactions(number).iter().take(index);
    let first_log = before.map(|one| token_movements(one).count()).sum();
    let logs: Vec<Value> = log_views(header, index, first_log, mined).collect();
    let mut view = receipt_view(&mined.transaction, &header, index);
    view["status"] = quantity(u64::from(mined.execution.succeeded));
    view["gasUsed"] = quantity(mined.execution.gas_used);
    view["cumulativeGasUsed"] = quantity(mined.gas_used_sum);
    view["effectiveGasPrice"] = quantity(mined.price);
    view["logs"] = Value::from(logs);
    view
}

/// A receipt of what is not mined, in the newest block.
pub(super) fn invented_receipt(chain: &Reader<'_>, hash: B256) -> Value {
    let (Some(waits), Some(header)) = (chain.pool.get(&hash), chain.header(chain.head())) else {
        return Value::Null;
    };
    receipt_view(waits, &header, 0)
}

/// Of a transfer of the chain's own coin that succeeded.
fn receipt_view(transaction: &Decoded, header: &Header, index: usize) -> Value {
    let envelope = &transaction.envelope;
    json!({
        "transactionHash": transaction.hash.to_string(),
        "transactionIndex": quantity(index as u64),
        "blockHash": header.hash.to_string(),
        "blockNumber": quantity(header.number),
        "from": address(transaction.sender),
        "to": envelope.to().map(address),
        "contractAddress": Value::Null,
        "status": "0x1",
        "type": quantity(u64::from(envelope.ty())),
        "gasUsed": quantity(envelope.gas_limit()),
        "cumulativeGasUsed": quantity(envelope.gas_limit()),
        "effectiveGasPrice": quantity(transaction.fee_max()),
        "logs": [],
        "logsBloom": bloom(),
    })
}

/// The `Transfer` logs of these blocks, oldest first.
pub(super) fn logs<'a>(
    chain: &Reader<'a>,
    from: u64,
    to: u64,
) -> impl Iterator<Item = Value> + use<'a> {
    let reader = *chain;
    chain.blocks_between(from, to).flat_map(move |(number, block)| {
        let header = reader.header(number);
        let mut first_log = 0;
        block.transactions.iter().enumerate().flat_map(move |(index, mined)| {
            let first = first_log;
            first_log += token_movements(mined).count();
            header.into_iter().flat_map(move |header| log_views(header, index, first, mined))
        })
    })
}

fn token_movements(mined: &MinedTransaction) -> impl Iterator<Item = (&Movement, Address)> {
    mined.execution.movements.iter().filter_map(|moved| Some((moved, moved.contract?)))
}

fn log_views(
    header: Header,
    index: usize,
    first_log: usize,
    mined: &MinedTransaction,
) -> impl Iterator<Item = Value> {
    let topic = |account: Address| account.into_word().to_string();
    token_movements(mined).enumerate().map(move |(place, (movement, contract))| {
        json!({
            "address": address(contract),
            "topics": [TRANSFER_TOPIC.to_string(), topic(movement.from), topic(movement.to)],
            "data": hex::encode_prefixed(movement.amount.to_be_bytes::<32>()),
            "blockHash": header.hash.to_string(),
            "blockNumber": quantity(header.number),
            "transactionHash": mined.transaction.hash.to_string(),
            "transactionIndex": quantity(index as u64),
            "logIndex": quantity((first_log + place) as u64),
            "removed": false,
        })
    })
}
