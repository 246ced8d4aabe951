//! What is asked now and then: who used a nonce, what fees are usual, what gas a call takes.

use alloy_primitives::{Address, B256, U256, hex};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answers::{account_text, number, wide};
use super::convert::{parse_address, parse_hash};
use super::endpoint::Endpoint;
use super::nodes::{BlockTag, Nodes};
use super::rpc::{Answer, Call, RpcError, quantity};

/// Blocks whose fees are looked at.
const FEE_BLOCKS: u64 = 10;

/// Of the tips in a block: half of its gas paid less.
const FEE_PERCENTILE: u8 = 50;

/// A transaction of the canonical chain, whoever made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundTransaction {
    pub(super) hash: B256,
    pub(super) block_number: u64,
    pub(super) block_hash: B256,
    /// None for one that creates a contract.
    pub(super) to: Option<Address>,
    pub(super) value: U256,
    pub(super) input: Vec<u8>,
}

/// What the next block takes, in wei a unit of gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FeeHistory {
    pub(super) base_fee_next: u128,
    /// The median of the last blocks' usual tips; zero where all of them were empty.
    pub(super) priority_fee: u128,
}

impl Nodes {
    /// The transaction that used this nonce, whatever it is, as a quorum has it. None while the
    /// nonce is not used, and where the nodes do not know the past that far back.
    ///
    /// `lowest_block_hint` is a block in which it was certainly not used yet; with 0 all of the
    /// chain is searched. From the head backwards in doubling steps, then by halves: nodes that
    /// keep the state of some blocks only can answer for the newest.
    pub(super) async fn find_nonce(
        &self,
        account: Address,
        nonce: u64,
        lowest_block_hint: u64,
    ) -> Result<Option<FoundTransaction>, RpcError> {
        let head = self.tip().await?.head;
        let Some(true) = self.is_used_at(account, nonce, head).await? else { return Ok(None) };
        // Used in `used`, not yet in `unused`.
        let (mut used, mut step) = (head, 1);
        let mut unused = loop {
            let Some(before) = used.checked_sub(step) else { break None };
            if before <= lowest_block_hint {
                break Some(lowest_block_hint).filter(|hint| *hint < used);
            }
            match self.is_used_at(account, nonce, before).await? {
                Some(true) => (used, step) = (before, step * 2),
                Some(false) => break Some(before),
                None => return Ok(None),
            }
        };
        if unused == Some(lowest_block_hint)
            && self.is_used_at(account, nonce, lowest_block_hint).await? != Some(false)
        {
            // The hint was wrong, or nobody knows that block any more.
            return Ok(None);
        }
        // Before the first block nothing is used.
        while used > unused.map_or(0, |unused| unused + 1) {
            let lowest = unused.map_or(0, |unused| unused + 1);
            let middle = lowest + (used - lowest) / 2;
            match self.is_used_at(account, nonce, middle).await? {
                Some(true) => used = middle,
                Some(false) => unused = Some(middle),
                None => return Ok(None),
            }
        }
        self.transaction_in(account, nonce, used).await
    }

    /// None where the nodes cannot say.
    async fn is_used_at(
        &self,
        account: Address,
        nonce: u64,
        block: u64,
    ) -> Result<Option<bool>, RpcError> {
        match self.transaction_count_at(account, BlockTag::Number(block)).await {
            Ok(count) => Ok(Some(count > nonce)),
            // Such as "missing trie node": a node without that past.
            Err(RpcError::Refused { .. } | RpcError::NoQuorum { .. }) => Ok(None),
            Err(
                error @ (RpcError::Transport { .. }
                | RpcError::WrongChain { .. }
                | RpcError::RateLimited { .. }),
            ) => Err(error),
        }
    }

    async fn transaction_in(
        &self,
        account: Address,
        nonce: u64,
        block: u64,
    ) -> Result<Option<FoundTransaction>, RpcError> {
        let tag = BlockTag::Number(block).text();
        let call = Call { method: "eth_getBlockByNumber", params: json!([tag, true]) };
        let said = |endpoint: &Endpoint, answer| find_in_block(endpoint, answer, account, nonce);
        self.panel.agree_on_one("a block's transactions", call, said).await
    }

    /// From one node: it only proposes.
    pub(super) async fn fee_history(&self) -> Result<FeeHistory, RpcError> {
        let params = json!([format!("{FEE_BLOCKS:#x}"), "latest", [FEE_PERCENTILE]]);
        let call = Call { method: "eth_feeHistory", params };
        self.panel.first("eth_feeHistory", call, decode_fees).await
    }

    /// The gas that this call would take now, without a margin. From one node: it only proposes.
    /// A call that would revert is [`RpcError::Refused`].
    pub(super) async fn estimate_gas(
        &self,
        from: Address,
        to: Address,
        value: U256,
        data: &[u8],
    ) -> Result<u64, RpcError> {
        let call = json!({
            "from": account_text(from), "to": account_text(to),
            "value": format!("{value:#x}"), "data": hex::encode_prefixed(data),
        });
        let call = Call { method: "eth_estimateGas", params: json!([call]) };
        self.panel.first("eth_estimateGas", call, |e, a| number(e, a, "eth_estimateGas")).await
    }
}

/// The account's transaction in the block, or that it has none; none where there is no block.
fn find_in_block(
    endpoint: &Endpoint,
    answer: Answer,
    account: Address,
    nonce: u64,
) -> Result<Option<Option<FoundTransaction>>, RpcError> {
    #[derive(Deserialize)]
    struct Block {
        hash: String,
        number: String,
        transactions: Vec<Transaction>,
    }
    #[derive(Deserialize)]
    struct Transaction {
        hash: String,
        from: String,
        to: Option<String>,
        nonce: String,
        value: Value,
        input: String,
    }
    let value = answer.map_err(|refusal| endpoint.refused(refusal))?;
    let unreadable = || endpoint.unreadable("eth_getBlockByNumber");
    let block: Option<Block> = serde_json::from_value(value).map_err(|_| unreadable())?;
    let Some(block) = block else { return Ok(None) };
    let of_nonce = block.transactions.iter().find(|transaction| {
        parse_address(&transaction.from) == Some(account)
            && quantity(&Value::from(transaction.nonce.as_str())) == Some(nonce)
    });
    let found = |transaction: &Transaction| {
        Some(FoundTransaction {
            hash: parse_hash(&transaction.hash)?,
            block_number: quantity(&Value::from(block.number.as_str()))?,
            block_hash: parse_hash(&block.hash)?,
            to: transaction.to.as_ref().map(|to| parse_address(to).ok_or(())).transpose().ok()?,
            value: wide(&transaction.value)?,
            input: hex::decode(&transaction.input).ok()?,
        })
    };
    of_nonce.map(|transaction| found(transaction).ok_or_else(unreadable)).transpose().map(Some)
}

fn decode_fees(endpoint: &Endpoint, answer: Answer) -> Result<FeeHistory, RpcError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct History {
        base_fee_per_gas: Vec<Value>,
        #[serde(default)]
        reward: Option<Vec<Vec<Value>>>,
    }
    let value = answer.map_err(|refusal| endpoint.refused(refusal))?;
    let unreadable = || endpoint.unreadable("eth_feeHistory");
    let history: History = serde_json::from_value(value).map_err(|_| unreadable())?;
    let wei = |value: &Value| wide(value).and_then(|wei| u128::try_from(wei).ok());
    // One more than there are blocks: the last is the next block's.
    let base_fee_next = history.base_fee_per_gas.last().and_then(wei).ok_or_else(unreadable)?;
    let rewards = history.reward.unwrap_or_default();
    let tips = rewards.iter().filter_map(|of_block| of_block.first());
    let mut tips: Vec<u128> =
        tips.map(|tip| wei(tip).ok_or_else(unreadable)).collect::<Result<_, _>>()?;
    // An empty block shows zero, whatever a transaction would have had to pay.
    tips.retain(|tip| *tip > 0);
    tips.sort_unstable();
    let priority_fee = tips.get(tips.len() / 2).copied().unwrap_or(0);
    Ok(FeeHistory { base_fee_next, priority_fee })
}

#[cfg(test)]
#[path = "lookups_test.rs"]
mod tests;
