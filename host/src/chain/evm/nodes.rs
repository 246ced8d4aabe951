//! The host's nodes for one network: which ones are asked, and how many must say the same.
//!
//! What ends a payment, the nonce that an account is compared with, and balances come from a
//! quorum ([`super::agreement`]). What only proposes, such as fees, comes from one node.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::{Address, B256, U256, hex};
use futures_util::future::join_all;
use serde_json::json;

use super::answers::{account_text, block, hash_text, number, one, receipt, wide, word};
use super::asking::Panel;
use super::endpoint::Endpoint;
use super::evidence::{CanonicalView, Receipt};
use super::rpc::{Answer, BATCH_MAX, Call, RpcError};
use super::rules::Balances;
use super::transaction::balance_call;
use crate::chain::config::Finality;

#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) panel: Panel,
    finality: Finality,
    /// With [`Finality::Depth`]: how many blocks make one final, itself counted.
    depth: u64,
}

/// A block by name or height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockTag {
    Latest,
    Safe,
    Finalized,
    Number(u64),
}

/// How far the chain is, as a quorum says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tip {
    pub(super) head: u64,
    /// Blocks up to here are final, if they are canonical. None while none is.
    pub(super) final_up_to: Option<u64>,
}

/// How many nonces of an account are used, as the chain counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UsedNonces {
    /// In the newest block, as a quorum says: what is below is mined.
    pub(super) mined: u64,
    /// No node saw more than these used at the final height, so at and above it nothing can be
    /// final. Where nodes do not know the past, this is of their newest block.
    pub(super) final_at_most: u64,
}

impl Nodes {
    pub(super) const fn new(panel: Panel, finality: Finality, depth: u64) -> Self {
        Self { panel, finality, depth }
    }

    pub(super) fn endpoints(&self) -> &[Arc<Endpoint>] {
        self.panel.endpoints()
    }

    /// The account's next nonce on the chain, counting mined transactions only.
    pub(super) async fn transaction_count(&self, account: Address) -> Result<u64, RpcError> {
        self.transaction_count_at(account, BlockTag::Latest).await
    }

    /// The same as far as a quorum has got: nodes of which one is a block ahead say it too.
    pub(super) async fn mined_count(&self, account: Address) -> Result<u64, RpcError> {
        const WHAT: &str = "the account's nonce";
        let call = Call {
            method: "eth_getTransactionCount",
            params: json!([account_text(account), BlockTag::Latest.text()]),
        };
        let decode = |endpoint: &Endpoint, mut answers: Vec<Answer>| {
            let answer = answers.pop().ok_or_else(|| endpoint.unreadable(WHAT))?;
            number(endpoint, answer, WHAT)
        };
        let (said, failures) = self.panel.ask_all(vec![call], decode).await;
        let mined = self.panel.quorum().reached(said.iter().copied());
        mined.ok_or_else(|| self.panel.too_few(WHAT, said.len(), failures))
    }

    /// How many transactions of the account were mined up to a block. A quorum must say the same.
    pub(super) async fn transaction_count_at(
        &self,
        account: Address,
        block: BlockTag,
    ) -> Result<u64, RpcError> {
        let call = Call {
            method: "eth_getTransactionCount",
            params: json!([account_text(account), block.text()]),
        };
        let said = |endpoint: &Endpoint, answer| {
            number(endpoint, answer, "eth_getTransactionCount").map(Some)
        };
        self.panel.agree_on_one("the account's nonce", call, said).await
    }

    /// The lowest that a quorum says: a node that is behind, or says too much, spends nothing.
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
        let decode = |endpoint: &Endpoint, mut answers: Vec<Answer>| {
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
        };
        let got = self.panel.quorum_of("balances", &calls, decode).await?;
        let lowest = got.answers.into_iter().reduce(|a, b| Balances {
            native: a.native.min(b.native),
            token: a.token.min(b.token),
        });
        lowest.ok_or_else(|| self.panel.too_few("balances", 0, Vec::new()))
    }

    /// The head, and up to where blocks are final. Asked at the start of a pass, before any block
    /// whose depth it is to measure: a hash that is read later is at least as deep as this says.
    pub(super) async fn tip(&self) -> Result<Tip, RpcError> {
        let tag = match self.finality {
            Finality::Depth => None,
            Finality::Safe => Some(BlockTag::Safe),
            Finality::Finalized => Some(BlockTag::Finalized),
        };
        let mut calls = vec![Call { method: "eth_blockNumber", params: json!([]) }];
        calls.extend(tag.map(BlockTag::block_call));
        let (said, failures) = self.panel.ask_all(calls, decode_tip).await;
        let head = self.panel.quorum().reached(said.iter().map(|(head, _)| *head));
        let Some(head) = head else {
            return Err(self.panel.too_few("the head", said.len(), failures));
        };
        self.panel.reached(head);
        let final_up_to = match self.finality {
            Finality::Depth => (head + 1).checked_sub(self.depth),
            Finality::Safe | Finality::Finalized => {
                self.panel.quorum().reached(said.iter().filter_map(|(_, tagged)| *tagged))
            }
        };
        Ok(Tip { head, final_up_to })
    }

    /// How many nonces of each account are used, in the order of the accounts.
    pub(super) async fn used_nonces(
        &self,
        accounts: &[Address],
        final_up_to: Option<u64>,
    ) -> Result<Vec<UsedNonces>, RpcError> {
        let mut used = Vec::with_capacity(accounts.len());
        // Two calls an account at most.
        for accounts in accounts.chunks(BATCH_MAX / 2) {
            let mut calls = Vec::with_capacity(2 * accounts.len());
            for account in accounts {
                for block in [Some(BlockTag::Latest), final_up_to.map(BlockTag::Number)] {
                    calls.extend(block.map(|block| Call {
                        method: "eth_getTransactionCount",
                        params: json!([account_text(*account), block.text()]),
                    }));
                }
            }
            let decode = if final_up_to.is_some() { decode_counts } else { decode_latest };
            let (said, failures) = self.panel.ask_all(calls, decode).await;
            if said.len() < self.panel.quorum().needed() {
                return Err(self.panel.too_few("the accounts' nonces", said.len(), failures));
            }
            for index in 0..accounts.len() {
                let of_account = || said.iter().filter_map(|counts| counts.get(index));
                let mined = self.panel.quorum().reached(of_account().map(|(mined, _)| *mined));
                let highest = of_account().map(|(mined, at_final)| at_final.unwrap_or(*mined));
                used.push(UsedNonces {
                    mined: mined.unwrap_or(0),
                    // Without a final height nothing is final.
                    final_at_most: final_up_to.and(highest.max()).unwrap_or(0),
                });
            }
        }
        Ok(used)
    }

    /// The receipts of these transactions, in their order, where a quorum gives the same. None
    /// where fewer have it, or say something about it that is no receipt. Neither is evidence.
    pub(super) async fn receipts(&self, hashes: &[B256]) -> Result<Vec<Option<Receipt>>, RpcError> {
        let call = |hash: &B256| Call {
            method: "eth_getTransactionReceipt",
            params: json!([hash_text(*hash)]),
        };
        let said = |endpoint: &Endpoint, answer| Ok(receipt(endpoint, answer));
        self.panel.agree_on_all("a receipt", hashes, call, said).await
    }

    /// The canonical hashes at these heights, where a quorum gives the same.
    pub(super) async fn canonical(
        &self,
        tip: Tip,
        numbers: &[u64],
    ) -> Result<CanonicalView, RpcError> {
        let call = |number: &u64| BlockTag::Number(*number).block_call();
        // A height that the node does not have yet is null: no hash, so nothing is canonical there.
        let said =
            |endpoint: &Endpoint, answer| Ok(block(endpoint, answer)?.map(|(_number, hash)| hash));
        let hashes = self.panel.agree_on_all("a block's hash", numbers, call, said).await?;
        let known = numbers.iter().zip(hashes).filter_map(|(number, hash)| Some((*number, hash?)));
        let hashes: BTreeMap<u64, B256> = known.collect();
        Ok(CanonicalView { head: tip.head, final_up_to: tip.final_up_to, hashes })
    }

    /// Sends stored bytes again, to every node. What they answer proves nothing, so it is only
    /// logged; the receipt decides.
    pub(super) async fn send_again(&self, transactions: &[(B256, Vec<u8>)]) {
        let mut to_each = Vec::with_capacity(self.endpoints().len());
        for endpoint in self.endpoints() {
            to_each.push(send_all(endpoint, transactions));
        }
        join_all(to_each).await;
    }
}

impl BlockTag {
    pub(super) fn text(self) -> String {
        match self {
            Self::Latest => "latest".into(),
            Self::Safe => "safe".into(),
            Self::Finalized => "finalized".into(),
            Self::Number(number) => format!("{number:#x}"),
        }
    }

    fn block_call(self) -> Call {
        Call { method: "eth_getBlockByNumber", params: json!([self.text(), false]) }
    }
}

/// The head, and the block that the finality tag names, where one was asked for.
fn decode_tip(
    endpoint: &Endpoint,
    mut answers: Vec<Answer>,
) -> Result<(u64, Option<u64>), RpcError> {
    let tagged = answers.split_off(answers.len().min(1)).pop();
    let head = answers.pop().ok_or_else(|| endpoint.unreadable("eth_blockNumber"))?;
    let head = number(endpoint, head, "eth_blockNumber")?;
    endpoint.saw_head(head);
    let tagged = tagged.map(|answer| block(endpoint, answer)).transpose()?.flatten();
    Ok((head, tagged.map(|(number, _)| number)))
}

/// Of each account the nonce in the newest block.
fn decode_latest(
    endpoint: &Endpoint,
    answers: Vec<Answer>,
) -> Result<Vec<(u64, Option<u64>)>, RpcError> {
    let count = |answer| Ok((number(endpoint, answer, "eth_getTransactionCount")?, None));
    answers.into_iter().map(count).collect()
}

/// Of each account the nonce in the newest block, and at the final height where the node knows it.
fn decode_counts(
    endpoint: &Endpoint,
    answers: Vec<Answer>,
) -> Result<Vec<(u64, Option<u64>)>, RpcError> {
    let what = "eth_getTransactionCount";
    let mut counts = Vec::with_capacity(answers.len() / 2);
    let mut answers = answers.into_iter();
    while let (Some(latest), Some(at_final)) = (answers.next(), answers.next()) {
        // Most nodes keep the state of some blocks only, and refuse what is older.
        let at_final = number(endpoint, at_final, what).ok();
        counts.push((number(endpoint, latest, what)?, at_final));
    }
    Ok(counts)
}

async fn send_all(endpoint: &Endpoint, transactions: &[(B256, Vec<u8>)]) {
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

fn log_answers(endpoint: &Endpoint, sent: &[(B256, Vec<u8>)], answers: &[Answer]) {
    for ((hash, _), answer) in sent.iter().zip(answers) {
        let answer = match answer {
            Ok(_) => "taken".to_owned(),
            Err(refusal) => refusal.to_string(),
        };
        tracing::debug!(tx.hash = %hash, node = endpoint.label(), answer, "sent again");
    }
}

#[cfg(test)]
#[path = "nodes_test.rs"]
mod tests;
