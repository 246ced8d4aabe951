//! JSON-RPC over HTTP with one node: bounded in time and size, with what failed in the type.
//!
//! A URL may carry credentials, in its user part or its path, so errors and logs name a node by
//! scheme, host and port only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::{Client, redirect};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

/// The most that a node may answer at once. A batch of receipts has some hundred kilobytes.
const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Calls in one HTTP request. Providers bound it; 100 is the least bound that is common.
pub(super) const BATCH_MAX: usize = 100;

/// What is kept of a text that a node sent.
const MESSAGE_CHARS_MAX: usize = 500;

/// Why a node gave no usable answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RpcError {
    /// Connection, time-out, HTTP status, or an answer that cannot be read. Whether the node
    /// acted on the call is unknown.
    #[error("node {node}: {cause}")]
    Transport { node: String, cause: String },
    /// The node understood the call and answered with an error.
    #[error("node {node} answered {refusal}")]
    Refused { node: String, refusal: NodeRefusal },
    /// The node serves another network; nothing that it says counts.
    #[error("node {node} is on chain {found}, not {expected}")]
    WrongChain { node: String, expected: u64, found: u64 },
}

/// A node's error answer. Codes do not discriminate, so the text is kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct NodeRefusal {
    pub code: i64,
    #[serde(default)]
    pub message: String,
}

#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: &'static str,
    pub(super) params: Value,
}

pub(super) type Answer = Result<Value, NodeRefusal>;

/// One node, as the operator configured it.
#[derive(Debug)]
pub(super) struct Endpoint {
    url: Url,
    label: String,
    client: Client,
    chain_id: u64,
    /// Whether the node's chain id was compared since the last transport error: behind one name
    /// there may be another node after it.
    chain_checked: AtomicBool,
}

#[derive(Deserialize)]
struct Reply {
    id: Value,
    // An explicit `null` is an answer (no such receipt) and must not read as a missing field.
    #[serde(default, deserialize_with = "present")]
    result: Option<Value>,
    error: Option<NodeRefusal>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Endpoint {
    pub(super) fn new(url: Url, client: Client, chain_id: u64) -> Self {
        let host = url.host_str().unwrap_or("?");
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let label = format!("{}://{host}{port}", url.scheme());
        Self { url, label, client, chain_id, chain_checked: AtomicBool::new(false) }
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// One answer a call, in the order of the calls. At most [`BATCH_MAX`] calls.
    pub(super) async fn batch(&self, calls: &[Call]) -> Result<Vec<Answer>, RpcError> {
        self.check_chain().await?;
        self.exchange(calls).await
    }

    pub(super) fn unreadable(&self, what: &str) -> RpcError {
        RpcError::Transport { node: self.label.clone(), cause: format!("unreadable: {what}") }
    }

    pub(super) fn refused(&self, refusal: NodeRefusal) -> RpcError {
        RpcError::Refused { node: self.label.clone(), refusal }
    }

    async fn check_chain(&self) -> Result<(), RpcError> {
        if self.chain_checked.load(Ordering::Acquire) {
            return Ok(());
        }
        let call = Call { method: "eth_chainId", params: json!([]) };
        let found = match self.exchange(&[call]).await?.pop() {
            Some(Ok(value)) => quantity(&value).ok_or_else(|| self.unreadable("eth_chainId"))?,
            Some(Err(refusal)) => return Err(self.refused(refusal)),
            None => return Err(self.unreadable("eth_chainId")),
        };
        if found != self.chain_id {
            let node = self.label.clone();
            return Err(RpcError::WrongChain { node, expected: self.chain_id, found });
        }
        self.chain_checked.store(true, Ordering::Release);
        Ok(())
    }

    async fn exchange(&self, calls: &[Call]) -> Result<Vec<Answer>, RpcError> {
        let answered = match calls {
            [] => return Ok(Vec::new()),
            [call] => self.single(call).await.map(|answer| vec![answer]),
            calls => self.many(calls).await,
        };
        if matches!(answered, Err(RpcError::Transport { .. })) {
            self.chain_checked.store(false, Ordering::Release);
        }
        answered
    }

    async fn single(&self, call: &Call) -> Result<Answer, RpcError> {
        let bytes = self.post(&request(0, call)).await?;
        let reply: Reply =
            serde_json::from_slice(&bytes).map_err(|_| self.unreadable("not JSON-RPC"))?;
        self.answer(reply)
    }

    async fn many(&self, calls: &[Call]) -> Result<Vec<Answer>, RpcError> {
        let body = calls.iter().enumerate().map(|(id, call)| request(id, call)).collect();
        let bytes = self.post(&Value::Array(body)).await?;
        let Ok(replies) = serde_json::from_slice::<Vec<Reply>>(&bytes) else {
            // Some nodes take no batches, or smaller ones, and answer with one error.
            return self.one_by_one(calls).await;
        };
        // The order of a batch's answers is the node's to choose.
        let mut answers: Vec<Option<Answer>> = calls.iter().map(|_| None).collect();
        for reply in replies {
            let id = reply.id.as_u64().and_then(|id| usize::try_from(id).ok());
            let slot = id.and_then(|id| answers.get_mut(id));
            let slot = slot.ok_or_else(|| self.unreadable("an answer to no call"))?;
            if slot.replace(self.answer(reply)?).is_some() {
                return Err(self.unreadable("two answers to one call"));
            }
        }
        let complete: Option<Vec<Answer>> = answers.into_iter().collect();
        complete.ok_or_else(|| self.unreadable("a call without an answer"))
    }

    async fn one_by_one(&self, calls: &[Call]) -> Result<Vec<Answer>, RpcError> {
        let mut answers = Vec::with_capacity(calls.len());
        for call in calls {
            answers.push(self.single(call).await?);
        }
        Ok(answers)
    }

    fn answer(&self, reply: Reply) -> Result<Answer, RpcError> {
        match (reply.error, reply.result) {
            (Some(refusal), _) => {
                let message = refusal.message.chars().take(MESSAGE_CHARS_MAX).collect();
                Ok(Err(NodeRefusal { message, ..refusal }))
            }
            (None, Some(value)) => Ok(Ok(value)),
            (None, None) => Err(self.unreadable("neither result nor error")),
        }
    }

    async fn post(&self, body: &Value) -> Result<Vec<u8>, RpcError> {
        let transport = |error: reqwest::Error| RpcError::Transport {
            node: self.label.clone(),
            cause: describe(&error.without_url()),
        };
        let mut response =
            self.client.post(self.url.clone()).json(body).send().await.map_err(transport)?;
        let status = response.status();
        if !status.is_success() {
            let cause = format!("HTTP status {}", status.as_u16());
            return Err(RpcError::Transport { node: self.label.clone(), cause });
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(transport)? {
            if bytes.len() + chunk.len() > RESPONSE_BYTES_MAX {
                return Err(self.unreadable("the answer is too large"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

fn request(id: usize, call: &Call) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": call.method, "params": call.params })
}

/// The error and what caused it: reqwest's own text says no more than "error sending request".
fn describe(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A quantity of JSON-RPC, such as `"0x1b4"`.
pub(super) fn quantity(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// The HTTP client for a network's nodes.
///
/// # Errors
/// TLS cannot be set up. The text says why.
pub(super) fn client(urls: &[Url], timeout: Duration) -> Result<Client, String> {
    let mut roots = RootCertStore::empty();
    if urls.iter().any(|url| url.scheme() == "https") {
        let found = rustls_native_certs::load_native_certs();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            return Err("this system has no root certificates, so no https node can be read".into());
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .timeout(timeout)
        .connect_timeout(timeout)
        // What is configured is what is dialled: no redirect and no proxy of the environment
        // decides where evidence comes from.
        .redirect(redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(|error| error.without_url().to_string())
}

#[cfg(test)]
#[path = "rpc_test.rs"]
mod tests;
