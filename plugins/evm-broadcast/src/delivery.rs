//! Sends signed bytes to every node, and makes one verdict of their answers. Sending is idempotent:
//! the same bytes can be mined once.

use serde_json::json;
use tidegate_plugin::{signer::SignedTransaction, warn};

use crate::{
    answers::{Meaning, meaning_of},
    rpc::{Nodes, RpcError, hex},
};

/// What the nodes said, taken together.
pub(crate) struct Delivery {
    pub(crate) meaning: Meaning,
    /// Which node decided.
    pub(crate) node: String,
    /// What all of them said, for people.
    pub(crate) reason: String,
}

pub(crate) fn send(nodes: &Nodes, signed: &SignedTransaction) -> Delivery {
    let params = json!([hex(&signed.raw)]);
    let mut decided: Option<(Meaning, String)> = None;
    let mut words = Vec::new();
    for said in nodes.ask_all("eth_sendRawTransaction", &params) {
        let meaning = match &said.result {
            Ok(hash) if hash.as_str().is_some_and(|it| it.eq_ignore_ascii_case(&signed.hash)) => {
                Meaning::Accepted
            }
            // It took something, and says that it is something else: no evidence of anything.
            Ok(other) => {
                warn!("{} answered {other} to transaction {}", said.node, signed.hash);
                words.push(format!("{}: answered another hash", said.node));
                Meaning::Resend
            }
            Err(error) => {
                words.push(format!("{}: {}", said.node, error.text()));
                match error {
                    RpcError::Transport(_) => Meaning::Resend,
                    RpcError::Node(text) => meaning_of(text),
                }
            }
        };
        if decided.as_ref().is_none_or(|(before, _)| weight(meaning) > weight(*before)) {
            decided = Some((meaning, said.node));
        }
    }
    let (meaning, node) = decided.unwrap_or((Meaning::Resend, "no node".into()));
    Delivery { meaning, node, reason: words.join("; ") }
}

/// Where nodes differ, the one that knows more decides: one that holds the bytes before all, one
/// that says nothing about them last.
fn weight(meaning: Meaning) -> u8 {
    match meaning {
        Meaning::Accepted => 6,
        Meaning::Receipt => 5,
        Meaning::Freeze => 4,
        Meaning::Rebuild => 3,
        Meaning::Bump => 2,
        Meaning::Wait => 1,
        Meaning::Resend => 0,
    }
}

/// The node that has a receipt of this very transaction. That none has one is evidence of nothing.
pub(crate) fn node_with_receipt(nodes: &Nodes, hash: &str) -> Option<String> {
    let params = json!([hash]);
    nodes
        .ask_all("eth_getTransactionReceipt", &params)
        .find(|said| {
            said.result.as_ref().is_ok_and(|receipt| {
                receipt["transactionHash"].as_str().is_some_and(|it| it.eq_ignore_ascii_case(hash))
            })
        })
        .map(|said| said.node)
}
