//! What a node answers to one request: faults first, then the work.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use tokio_util::sync::CancellationToken;

use super::Shared;
use super::fault::NodeFault;
use super::rpc::Batch;
use crate::sandbox::fault::slow;
use crate::sandbox::journal::JournalError;

/// An answer, whatever carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeAnswer {
    Body {
        status: u16,
        retry_after_s: Option<u64>,
        body: Vec<u8>,
    },
    /// The connection is cut without an answer.
    Cut,
}

/// Answers that are none.
const GARBAGE: [&str; 8] = [
    "<html><body>502 Bad Gateway</body></html>",
    r#"{"jsonrpc":"2.0","id":0,"resu"#,
    "",
    "null",
    r#"{"jsonrpc":"2.0","id":"of another request","result":"0x1"}"#,
    r#"{"jsonrpc":"2.0","id":0}"#,
    "[]",
    "\u{0}\u{1}\u{2}",
];

impl NodeAnswer {
    fn ok(body: Vec<u8>) -> Self {
        Self::Body { status: 200, retry_after_s: None, body }
    }

    fn error(status: u16, code: &str, message: &str) -> Self {
        let body = serde_json::json!({ "error": { "code": code, "message": message } });
        Self::Body { status, retry_after_s: None, body: body.to_string().into_bytes() }
    }
}

/// Answers JSON-RPC that was sent to one node.
pub(super) async fn answer(
    shared: &Shared,
    node: usize,
    body: &[u8],
    stop: &CancellationToken,
) -> NodeAnswer {
    let batch = match Batch::parse(body) {
        Ok(batch) => batch,
        Err(answer) => return NodeAnswer::ok(answer.to_string().into_bytes()),
    };
    // Control goes through whatever the fault is.
    let fault = if batch.is_control() {
        None
    } else {
        shared.faults[node].strike_if(|fault| match fault {
            NodeFault::DropAnswerAfterAccept | NodeFault::AcceptAndForget => batch.sends(),
            NodeFault::Down
            | NodeFault::RefuseConnections
            | NodeFault::SlowMs(_)
            | NodeFault::RateLimit { .. }
            | NodeFault::Garbage => true,
        })
    };
    match fault {
        Some(NodeFault::Down) => return NodeAnswer::error(503, "down", "the node is down"),
        Some(NodeFault::RefuseConnections) => return NodeAnswer::Cut,
        Some(NodeFault::RateLimit { retry_after_s }) => {
            let body = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32005,"message":"rate limit exceeded"}}"#;
            return NodeAnswer::Body { status: 429, retry_after_s, body: body.into() };
        }
        Some(NodeFault::SlowMs(ms)) => slow(ms, stop).await,
        Some(
            NodeFault::DropAnswerAfterAccept | NodeFault::AcceptAndForget | NodeFault::Garbage,
        )
        | None => {}
    }
    let hook = shared.hook.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
    if let Some(hook) = hook {
        for raw in batch.raw_transactions() {
            hook(node, raw).await;
        }
    }
    let forgets = fault == Some(NodeFault::AcceptAndForget);
    let answer = batch.answer(shared, node, forgets);
    match fault {
        Some(NodeFault::DropAnswerAfterAccept) => return NodeAnswer::Cut,
        Some(NodeFault::Garbage) => {
            let which = shared.garbage.fetch_add(1, Ordering::Relaxed) % GARBAGE.len();
            return NodeAnswer::ok(GARBAGE[which].into());
        }
        Some(
            NodeFault::AcceptAndForget
            | NodeFault::SlowMs(_)
            | NodeFault::RateLimit { .. }
            | NodeFault::Down
            | NodeFault::RefuseConnections,
        )
        | None => {}
    }
    match answer {
        Ok(Some(answer)) => NodeAnswer::ok(answer.to_string().into_bytes()),
        Ok(None) => NodeAnswer::Body { status: 204, retry_after_s: None, body: Vec::new() },
        Err(error) => broken(&error),
    }
}

/// Nothing that is not in the journal may be told.
pub(super) fn broken(error: &JournalError) -> NodeAnswer {
    tracing::error!(%error, "the node cannot write its journal");
    NodeAnswer::error(503, "journal", "the node cannot write its journal")
}
