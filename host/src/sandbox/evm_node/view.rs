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
use super::transaction::Decoded;

const ZERO_HASH: B256 = B256::ZERO;

pub(super) fn quantity(value: impl TryInto<U256>) -> Value {
    value.try_into().map_or(Value::Null, |value| Value::from(format!("{value:#x}")))
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
        block.transactions.iter().filter_map(move |mined| {
            let movement = mined.execution.movement.as_ref()?;
            let symbol = movement
                .contract
                .and_then(|contract| chain.ledger.token(contract))
                .map_or("ETH", |token| token.config.symbol.as_str());
            Some(Transfer {
                from: movement.from.to_string(),
                to: movement.to.to_string(),
                asset: symbol.to_owned(),
                contract: movement.contract.map(|contract| contract.to_string()),
                amount: movement.amount.to_string(),
                tx_hash: mined.transaction.hash.to_string(),
                block: number,
                nonce: mined.transaction.nonce(),
            })
        })
    })
}

pub(super) fn block(chain: &Chain, id: BlockId, full: bool) -> Value {
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
fn pending_block(chain: &Chain) -> Value {
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

fn header_view(chain: &Chain, header: &Header) -> Value {
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

pub(super) fn transaction(chain: &Chain, hash: B256) -> Value {
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

pub(super) fn receipt(chain: &Chain, hash: B256) -> Value {
    let Some((number, index, mined)) = chain.find_mined(&hash) else { return Value::Null };
    let Some(header) = chain.header(number) else { return Value::Null };
    let envelope = &mined.transaction.envelope;
    json!({
        "transactionHash": hash.to_string(),
        "transactionIndex": quantity(index as u64),
        "blockHash": header.hash.to_string(),
        "blockNumber": quantity(number),
        "from": address(mined.transaction.sender),
        "to": envelope.to().map(address),
        "contractAddress": Value::Null,
        "status": quantity(u64::from(mined.execution.succeeded)),
        "type": quantity(u64::from(envelope.ty())),
        "gasUsed": quantity(mined.execution.gas_used),
        "cumulativeGasUsed": quantity(mined.gas_used_sum),
        "effectiveGasPrice": quantity(mined.price),
        "logs": log_of(chain, &header, index, mined).into_iter().collect::<Vec<_>>(),
        "logsBloom": bloom(),
    })
}

/// The `Transfer` logs of these blocks, oldest first.
pub(super) fn logs(chain: &Chain, from: u64, to: u64) -> impl Iterator<Item = Value> + use<'_> {
    chain.blocks_between(from, to).flat_map(move |(number, block)| {
        let header = chain.header(number);
        let mut log_index = 0;
        block.transactions.iter().enumerate().filter_map(move |(index, mined)| {
            let log = log_view(header.as_ref()?, index, log_index, mined)?;
            log_index += 1;
            Some(log)
        })
    })
}

/// The log of one transaction, if it has one.
fn log_of(chain: &Chain, header: &Header, index: usize, mined: &MinedTransaction) -> Option<Value> {
    let before = chain.transactions(header.number).iter().take(index);
    let log_index = before.filter(|one| token_moved(one).is_some()).count();
    log_view(header, index, log_index, mined)
}

fn token_moved(mined: &MinedTransaction) -> Option<(&Movement, Address)> {
    let movement = mined.execution.movement.as_ref()?;
    Some((movement, movement.contract?))
}

fn log_view(
    header: &Header,
    index: usize,
    log_index: usize,
    mined: &MinedTransaction,
) -> Option<Value> {
    let (movement, contract) = token_moved(mined)?;
    let topic = |account: Address| account.into_word().to_string();
    Some(json!({
        "address": address(contract),
        "topics": [TRANSFER_TOPIC.to_string(), topic(movement.from), topic(movement.to)],
        "data": hex::encode_prefixed(movement.amount.to_be_bytes::<32>()),
        "blockHash": header.hash.to_string(),
        "blockNumber": quantity(header.number),
        "transactionHash": mined.transaction.hash.to_string(),
        "transactionIndex": quantity(index as u64),
        "logIndex": quantity(log_index as u64),
        "removed": false,
    }))
}
