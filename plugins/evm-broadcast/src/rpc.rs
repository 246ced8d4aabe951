//! JSON-RPC to the nodes of one network. Nodes are named by their origin only: their paths hold keys.

use std::time::Duration;

use ruint::aliases::U256;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_plugin::http;

/// Enough of a node's own words to see what it objects to.
const TEXT_CHARS_MAX: usize = 300;

/// The nodes of one network, in the operator's order.
pub(crate) struct Nodes {
    urls: Vec<String>,
    timeout: Duration,
}

/// Why a node gave no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RpcError {
    /// No answer that could be read. Whether the call arrived is open.
    Transport(String),
    /// The node's own error, in its own words.
    Node(String),
}

/// What one node said, and which.
pub(crate) struct Said<T> {
    pub(crate) node: String,
    pub(crate) result: Result<T, RpcError>,
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    result: Value,
    error: Option<NodeError>,
}

#[derive(Deserialize)]
struct NodeError {
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Value,
}

impl Nodes {
    pub(crate) fn new(urls: Vec<String>, timeout: Duration) -> Self {
        Self { urls, timeout }
    }

    /// Asks every node.
    pub(crate) fn ask_all<'a>(
        &'a self,
        method: &'a str,
        params: &'a Value,
    ) -> impl Iterator<Item = Said<Value>> + 'a {
        self.urls.iter().map(move |url| Said {
            node: http::origin(url).unwrap_or_else(|| "a malformed address".into()),
            result: self.call(url, method, params),
        })
    }

    /// Asks one node after the other until one gives a result.
    pub(crate) fn ask(&self, method: &str, params: &Value) -> Result<Value, String> {
        let mut refusals = Vec::new();
        for said in self.ask_all(method, params) {
            match said.result {
                Ok(result) => return Ok(result),
                Err(error) => refusals.push(format!("{}: {}", said.node, error.text())),
            }
        }
        Err(format!("{method}: {}", refusals.join("; ")))
    }

    fn call(&self, url: &str, method: &str, params: &Value) -> Result<Value, RpcError> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let response = http::post(url)
            .timeout(self.timeout)
            .json(&request)
            .send()
            .map_err(|error| RpcError::Transport(error.to_string()))?;
        if !response.is_success() {
            let words = response.excerpt(TEXT_CHARS_MAX);
            return Err(RpcError::Transport(format!("status {}: {words}", response.status())));
        }
        let reply: Reply =
            response.json().map_err(|error| RpcError::Transport(error.to_string()))?;
        match reply.error {
            Some(error) => Err(RpcError::Node(error.text())),
            None => Ok(reply.result),
        }
    }
}

impl RpcError {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Transport(text) | Self::Node(text) => text,
        }
    }
}

impl NodeError {
    /// Providers answer `Internal error` and put the node's words into `data`.
    fn text(&self) -> String {
        let data = match &self.data {
            Value::Null => String::new(),
            Value::String(text) => format!(": {text}"),
            other => format!(": {other}"),
        };
        format!("{}{data}", self.message).chars().take(TEXT_CHARS_MAX).collect()
    }
}

/// A number as nodes write it: `0x1b4`.
pub(crate) fn quantity(value: &Value) -> Option<U256> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    if digits.is_empty() {
        return None;
    }
    U256::from_str_radix(digits, 16).ok()
}

/// Bytes as nodes read them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::from("0x"), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}
