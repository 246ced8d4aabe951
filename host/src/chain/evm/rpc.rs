//! JSON-RPC over HTTP with one node: bounded in time and size, with what failed in the type.
//!
//! A URL may carry credentials, in its user part or its path, so errors and logs name a node by
//! scheme, host and port only.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::try_join_all;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode, redirect};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

/// The most that a node may answer at once. A batch of receipts has some hundred kilobytes.
const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Calls in one HTTP request. Providers bound it; 100 is the least bound that is common.
pub(super) const BATCH_MAX: usize = 100;

/// Calls to a node that takes no batches, at once.
const SINGLES_AT_ONCE: usize = 8;

/// What is kept of a text that a node sent.
const MESSAGE_CHARS_MAX: usize = 500;

/// How long a node is left alone that says neither when it takes calls again nor how often.
const RATE_LIMIT_WAIT: Duration = Duration::from_secs(1);

/// The longest wait that a node can order: a provider that counts by the day says hours.
const RATE_LIMIT_WAIT_MAX: Duration = Duration::from_secs(300);

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
    /// The node takes no more calls for now. It did not act on this one.
    #[error("node {node} takes no calls for {} ms more: its rate limit", wait.as_millis())]
    RateLimited { node: String, wait: Duration },
    /// Too few nodes gave an answer, or the same one.
    #[error("{agreed} of the {needed} nodes that must agree gave {what}: {causes}")]
    NoQuorum { what: &'static str, agreed: usize, needed: usize, causes: String },
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

/// The way to one node, as the operator configured it. It knows nothing of the node's health.
#[derive(Debug)]
pub(super) struct Wire {
    url: Url,
    label: String,
    client: Client,
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

impl Wire {
    pub(super) fn new(url: Url, client: Client) -> Self {
        let label = label(&url);
        Self { url, label, client }
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Tells this one from another node at the same host and port.
    pub(super) fn number(&mut self, number: usize) {
        self.label = format!("{} ({number})", self.label);
    }

    /// One answer a call, in the order of the calls. At most [`BATCH_MAX`] calls.
    pub(super) async fn exchange(&self, calls: &[Call]) -> Result<Vec<Answer>, RpcError> {
        let answers = match calls {
            [] => return Ok(Vec::new()),
            [call] => vec![self.single(call).await?],
            calls => self.many(calls).await?,
        };
        // With some calls of a batch not answered, the whole of it is asked again later.
        let refusals = answers.iter().filter_map(|answer| answer.as_ref().err());
        if refusals.into_iter().any(NodeRefusal::is_rate_limit) {
            return Err(self.rate_limited(RATE_LIMIT_WAIT));
        }
        Ok(answers)
    }

    pub(super) fn unreadable(&self, what: &str) -> RpcError {
        self.away(&format!("unreadable: {what}"))
    }

    pub(super) fn away(&self, cause: &str) -> RpcError {
        RpcError::Transport { node: self.label.clone(), cause: cause.to_owned() }
    }

    pub(super) fn rate_limited(&self, wait: Duration) -> RpcError {
        RpcError::RateLimited { node: self.label.clone(), wait }
    }

    pub(super) fn refused(&self, refusal: NodeRefusal) -> RpcError {
        RpcError::Refused { node: self.label.clone(), refusal }
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
            let refusal = serde_json::from_slice::<Reply>(&bytes).ok().and_then(|one| one.error);
            if refusal.is_some_and(|refusal| refusal.is_rate_limit()) {
                return Err(self.rate_limited(RATE_LIMIT_WAIT));
            }
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
        for some in calls.chunks(SINGLES_AT_ONCE) {
            let mut asked = Vec::with_capacity(some.len());
            for call in some {
                asked.push(self.single(call));
            }
            answers.extend(try_join_all(asked).await?);
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
        let told_to_wait = retry_after(response.headers(), SystemTime::now());
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(self.rate_limited(told_to_wait.unwrap_or(RATE_LIMIT_WAIT)));
        }
        // Unavailable, and it says until when: as good as a limit.
        if let (StatusCode::SERVICE_UNAVAILABLE, Some(wait)) = (status, told_to_wait) {
            return Err(self.rate_limited(wait));
        }
        if !status.is_success() {
            return Err(self.away(&format!("HTTP status {}", status.as_u16())));
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

/// Scheme, host and port: what may be shown of a URL.
pub(super) fn label(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}", url.scheme())
}

impl NodeRefusal {
    /// Whether the node refused because it was asked too often. Codes do not discriminate (-32005
    /// is a gas limit to some), and a reverted call may quote any text.
    fn is_rate_limit(&self) -> bool {
        const TEXTS: [&str; 8] = [
            "rate limit",
            "rate-limit",
            "ratelimit",
            "too many requests",
            "request limit",
            "requests per second",
            "compute units per second",
            "exceeded its throughput",
        ];
        let text = self.message.to_ascii_lowercase();
        self.code == 429
            || !text.contains("revert") && TEXTS.iter().any(|known| text.contains(known))
    }
}

/// What the header `Retry-After` says, in seconds or as a date. At least a little, so that nobody
/// is asked again at once, and bounded.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = chrono::DateTime::parse_from_rfc2822(text).ok()?;
            SystemTime::from(at).duration_since(now).unwrap_or_default()
        }
    };
    Some(wait.clamp(Duration::from_millis(100), RATE_LIMIT_WAIT_MAX))
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

/// TLS as all that is asked of nodes uses it. `roots`: whether the system's root certificates are
/// needed at all.
///
/// # Errors
/// TLS cannot be set up. The text says why.
pub(super) fn tls(roots: bool) -> Result<ClientConfig, String> {
    let mut known = RootCertStore::empty();
    if roots {
        let found = rustls_native_certs::load_native_certs();
        let (added, _) = known.add_parsable_certificates(found.certs);
        if added == 0 {
            return Err("this system has no root certificates, so no https node can be read".into());
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(known)
        .with_no_client_auth())
}

/// The HTTP client for a network's nodes.
///
/// # Errors
/// TLS cannot be set up. The text says why.
pub(super) fn client(urls: &[Url], timeout: Duration) -> Result<Client, String> {
    let tls = tls(urls.iter().any(|url| url.scheme() == "https"))?;
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
