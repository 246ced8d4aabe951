//! Sends signed bytes to every node, and makes one verdict of their answers. Sending is idempotent:
//! the same bytes can be mined once.

use serde_json::{Value, json};
use tidegate_plugin::{log::notice, signer::SignedTransaction, warn};

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
    /// Whether a node answered the hash, and not only that it knows the bytes: what is known may
    /// have been evicted since.
    pub(crate) by_hash: bool,
}

pub(crate) fn send(nodes: &Nodes, signed: &SignedTransaction) -> Delivery {
    let params = json!([hex(&signed.raw)]);
    let mut delivery = Delivery {
        meaning: Meaning::Resend,
        node: "no node".into(),
        reason: String::new(),
        by_hash: false,
    };
    let mut words = Vec::new();
    for said in nodes.ask_all("eth_sendRawTransaction", &params) {
        let meaning = match &said.result {
            Ok(hash) if hash.as_str().is_some_and(|it| it.eq_ignore_ascii_case(&signed.hash)) => {
                delivery.by_hash = true;
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
                    RpcError::Node(text) => known_meaning(&said.node, text),
                }
            }
        };
        if precedence(meaning) > precedence(delivery.meaning) || delivery.node == "no node" {
            (delivery.meaning, delivery.node) = (meaning, said.node);
        }
    }
    delivery.reason = words.join("; ");
    delivery
}

/// A text that no rule knows is told to the operator: the table wants a line.
fn known_meaning(node: &str, text: &str) -> Meaning {
    meaning_of(text).unwrap_or_else(|| {
        notice("unknown-answer", &format!("{node} refused a transaction in new words: {text}"));
        Meaning::Resend
    })
}

/// Where nodes differ, the one that knows more decides: one that holds the bytes before all, for
/// they can be mined then; one that says nothing about them last. Of refusals the one that a person
/// must see comes first, and one that only time can change comes late.
fn precedence(meaning: Meaning) -> u8 {
    match meaning {
        Meaning::Accepted => 7,
        Meaning::Receipt => 6,
        Meaning::Freeze => 5,
        Meaning::Rebuild => 4,
        Meaning::Bump => 3,
        Meaning::AfterLower => 2,
        Meaning::Wait => 1,
        Meaning::Resend => 0,
    }
}

/// The node that has a receipt of this very transaction. That none has one is evidence of nothing.
pub(crate) fn node_with_receipt(nodes: &Nodes, hash: &str) -> Option<String> {
    first_with(nodes, "eth_getTransactionReceipt", hash, "transactionHash")
}

/// The node that shows this very transaction, waiting or mined.
pub(crate) fn node_that_shows(nodes: &Nodes, hash: &str) -> Option<String> {
    first_with(nodes, "eth_getTransactionByHash", hash, "hash")
}

fn first_with(nodes: &Nodes, method: &str, hash: &str, field: &str) -> Option<String> {
    let is_it =
        |found: &Value| found[field].as_str().is_some_and(|it| it.eq_ignore_ascii_case(hash));
    nodes
        .ask_all(method, &json!([hash]))
        .find(|said| said.result.as_ref().is_ok_and(is_it))
        .map(|said| said.node)
}
