//! New heads over WebSocket (`eth_subscribe`): a hint that there is a new block, and nothing more.
//!
//! What a head says is not read: it wakes the confirmation job, which asks for itself. So a
//! subscription that is lost, late or lying makes a payment wait for the next poll at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{AUTHORIZATION, HeaderValue};
use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_websockets::{ClientBuilder, Limits, Message, WebSocketStream};
use url::Url;

use super::rpc::{label, quantity, tls};

/// A head has some two kilobytes.
const FRAME_BYTES_MAX: usize = 64 * 1024;

/// Wakes come this far apart at least, however fast blocks are.
const WAKE_GAP: Duration = Duration::from_millis(200);

/// How long a subscription waits, and for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    /// From dialling to the answer of `eth_subscribe`.
    connect_max: Duration,
    /// Silent for so long, the node is pinged; silent for as long again, it is given up.
    silence_max: Duration,
    /// Between two tries. It doubles up to the second.
    pause: (Duration, Duration),
}

const TIMING: Timing = Timing {
    connect_max: Duration::from_secs(10),
    silence_max: Duration::from_secs(15),
    pause: (Duration::from_secs(1), Duration::from_secs(60)),
};

/// The heads of one network.
#[derive(Debug)]
pub(super) struct Heads {
    /// `ws` or `wss`, by preference. Empty: there is only polling.
    urls: Vec<Url>,
    chain_id: u64,
    tls: TlsSetup,
    timing: Timing,
    new_head: Notify,
    is_up: AtomicBool,
    seen: AtomicU64,
}

/// The TLS configuration, whose own `Debug` text is of no use.
struct TlsSetup(Arc<rustls::ClientConfig>);

impl std::fmt::Debug for TlsSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsSetup")
    }
}

/// What comes over the subscription, as far as it is read.
#[derive(Deserialize)]
struct Said {
    id: Option<u64>,
    method: Option<String>,
    result: Option<Value>,
    error: Option<Value>,
}

impl Heads {
    /// # Errors
    /// TLS cannot be set up. The text says why.
    pub(super) fn new(urls: Vec<Url>, chain_id: u64) -> Result<Self, String> {
        let tls = tls(urls.iter().any(|url| url.scheme() == "wss"))?;
        Ok(Self {
            urls,
            chain_id,
            tls: TlsSetup(Arc::new(tls)),
            timing: TIMING,
            new_head: Notify::new(),
            is_up: AtomicBool::new(false),
            seen: AtomicU64::new(0),
        })
    }

    pub(super) fn is_configured(&self) -> bool {
        !self.urls.is_empty()
    }

    pub(super) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    /// How many were seen.
    pub(super) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Ends when there is a new head, or was one since the last call ended.
    pub(super) async fn next(&self) {
        self.new_head.notified().await;
    }

    /// Keeps one subscription going until `stop`. Without a URL it only waits.
    pub(super) async fn follow(&self, stop: &CancellationToken) {
        let mut failures = 0_u32;
        for url in self.urls.iter().cycle() {
            let before = self.seen();
            let ended = tokio::select! {
                () = stop.cancelled() => break,
                ended = self.subscribe(url) => ended,
            };
            self.is_up.store(false, Ordering::Relaxed);
            failures = if self.seen() > before { 1 } else { failures.saturating_add(1) };
            let (least, most) = self.timing.pause;
            let pause = least.saturating_mul(1 << (failures - 1).min(10)).min(most);
            let pause = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
            tracing::warn!(
                node = label(url),
                reason = ended,
                "no new heads from this node; blocks are polled for, and it is tried again in {} ms",
                pause.as_millis()
            );
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        stop.cancelled().await;
    }

    /// Listens to one node. Answers why it ended.
    async fn subscribe(&self, url: &Url) -> String {
        match tokio::time::timeout(self.timing.connect_max, self.connect(url)).await {
            Err(_) => "it did not answer in time".into(),
            Ok(Err(reason)) => reason,
            Ok(Ok(mut socket)) => {
                self.is_up.store(true, Ordering::Relaxed);
                tracing::info!(node = label(url), "new heads come from this node");
                self.listen(&mut socket).await
            }
        }
    }

    async fn connect(&self, url: &Url) -> Result<Socket, String> {
        let host = url.host_str().ok_or("the URL has no host")?;
        let port = url.port_or_known_default().ok_or("the URL has no port")?;
        let address = (host.trim_matches(['[', ']']), port);
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let stream: Box<dyn Stream> = if url.scheme() == "wss" {
            let name = ServerName::try_from(address.0.to_owned()).map_err(|e| e.to_string())?;
            let tls = TlsConnector::from(Arc::clone(&self.tls.0));
            Box::new(tls.connect(name, stream).await.map_err(|error| error.to_string())?)
        } else {
            Box::new(stream)
        };
        let limits = Limits::default().max_payload_len(Some(FRAME_BYTES_MAX));
        let mut builder = ClientBuilder::new().limits(limits);
        if let Some(credentials) = credentials(url) {
            builder = builder.add_header(AUTHORIZATION, credentials).map_err(|e| e.to_string())?;
        }
        let uri = without_credentials(url);
        let builder = builder.uri(&uri).map_err(|_| "the URL cannot be spoken to".to_owned())?;
        let (mut socket, _) =
            builder.connect_on(stream).await.map_err(|error| error.to_string())?;
        let found = ask(&mut socket, 1, "eth_chainId", json!([])).await?;
        if quantity(&found) != Some(self.chain_id) {
            return Err(format!("it is on chain {found}, not {}", self.chain_id));
        }
        ask(&mut socket, 2, "eth_subscribe", json!(["newHeads"])).await?;
        Ok(socket)
    }

    async fn listen(&self, socket: &mut Socket) -> String {
        let mut pinged = false;
        loop {
            match tokio::time::timeout(self.timing.silence_max, socket.next()).await {
                Err(_) if pinged => return "it is silent".into(),
                Err(_) => {
                    pinged = true;
                    let ping = socket.send(Message::ping("tidegate"));
                    if tokio::time::timeout(self.timing.silence_max, ping).await.is_err() {
                        return "it takes nothing".into();
                    }
                }
                Ok(None) => return "it ended the connection".into(),
                Ok(Some(Err(error))) => return error.to_string(),
                Ok(Some(Ok(message))) => {
                    pinged = false;
                    let said = message.as_text().map(serde_json::from_str::<Said>);
                    let is_head = |said: &Said| said.method.as_deref() == Some("eth_subscription");
                    if said.is_some_and(|said| said.as_ref().is_ok_and(is_head)) {
                        self.seen.fetch_add(1, Ordering::Relaxed);
                        self.new_head.notify_one();
                        tokio::time::sleep(WAKE_GAP).await;
                    }
                }
            }
        }
    }
}

/// A connection, plain or encrypted.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Socket = WebSocketStream<Box<dyn Stream>>;

/// One call and its answer. What else comes meanwhile is passed over.
async fn ask(socket: &mut Socket, id: u64, method: &str, params: Value) -> Result<Value, String> {
    let call = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    socket.send(Message::text(call.to_string())).await.map_err(|error| error.to_string())?;
    while let Some(message) = socket.next().await {
        let message = message.map_err(|error| error.to_string())?;
        let Some(text) = message.as_text() else { continue };
        let said: Said = serde_json::from_str(text).map_err(|_| "it speaks no JSON-RPC")?;
        match (said.id == Some(id), said.result, said.error) {
            (true, Some(result), None) => return Ok(result),
            (true, _, _) => return Err(format!("it refuses {method}")),
            (false, _, _) => {}
        }
    }
    Err("it ended the connection".into())
}

/// The user part of a URL, as HTTP wants it.
fn credentials(url: &Url) -> Option<HeaderValue> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decoded = |text| percent_encoding::percent_decode_str(text).decode_utf8_lossy();
    let pair =
        format!("{}:{}", decoded(url.username()), decoded(url.password().unwrap_or_default()));
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn without_credentials(url: &Url) -> String {
    let mut bare = url.clone();
    // They only fail for URLs that cannot have any.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    bare.to_string()
}

#[cfg(test)]
#[path = "heads_test.rs"]
mod tests;
