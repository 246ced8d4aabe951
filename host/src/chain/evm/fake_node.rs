//! An HTTP server that answers JSON-RPC as a test tells it to, and remembers what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the node says to a method and its parameters: a result, or code and message of an error.
pub(super) type Behaviour = Arc<dyn Fn(&str, &Value) -> Result<Value, (i64, String)> + Send + Sync>;

/// How the node answers, whatever it is asked.
#[derive(Clone)]
pub(super) enum Manner {
    Proper,
    /// Batches in reverse order, as is allowed.
    Reversed,
    /// Refuses batches with a single error.
    NoBatches,
    Status(u16),
    Raw(String),
    /// Takes the request and says nothing.
    Silent,
}

pub(super) struct FakeNode {
    pub(super) url: String,
    pub(super) calls: Arc<Mutex<Vec<(String, Value)>>>,
    pub(super) manner: Arc<Mutex<Manner>>,
    task: JoinHandle<()>,
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeNode {
    /// Answers `eth_chainId` with 1 and leaves the rest to `behaviour`.
    pub(super) async fn start(
        behaviour: impl Fn(&str, &Value) -> Result<Value, (i64, String)> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let calls: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let manner = Arc::new(Mutex::new(Manner::Proper));
        let behaviour: Behaviour = Arc::new(behaviour);
        let (seen, how) = (Arc::clone(&calls), Arc::clone(&manner));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (behaviour, seen, how) = (behaviour.clone(), seen.clone(), how.clone());
                tokio::spawn(serve(stream, behaviour, seen, how));
            }
        });
        Self { url, calls, manner, task }
    }

    pub(super) fn count(&self, method: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|(called, _)| called == method).count()
    }

    pub(super) fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }
}

/// An answer for methods that a test does not care about.
pub(super) fn unknown(method: &str) -> Result<Value, (i64, String)> {
    Err((-32_601, format!("the method {method} does not exist")))
}

async fn serve(
    mut stream: TcpStream,
    behaviour: Behaviour,
    seen: Arc<Mutex<Vec<(String, Value)>>>,
    how: Arc<Mutex<Manner>>,
) {
    while let Some(body) = read_request(&mut stream).await {
        let manner = how.lock().unwrap().clone();
        let answer = |call: &Value| {
            let (method, id) = (call["method"].as_str().unwrap(), &call["id"]);
            seen.lock().unwrap().push((method.to_owned(), call["params"].clone()));
            let result = match method {
                "eth_chainId" => behaviour(method, &call["params"]).or(Ok(json!("0x1"))),
                _ => behaviour(method, &call["params"]),
            };
            match result {
                Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
                Err((code, message)) => {
                    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
                }
            }
        };
        let request: Value = serde_json::from_slice(&body).unwrap();
        let (status, text) = match (manner, request.as_array()) {
            (Manner::Status(status), _) => (status, "no".to_owned()),
            (Manner::Raw(text), _) => (200, text),
            (Manner::Silent, _) => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                return;
            }
            (Manner::NoBatches, Some(_)) => {
                let error = json!({ "code": -32_600, "message": "batches are not taken" });
                (200, json!({ "jsonrpc": "2.0", "id": null, "error": error }).to_string())
            }
            (Manner::Reversed, Some(calls)) => {
                (200, Value::from(calls.iter().rev().map(answer).collect::<Vec<_>>()).to_string())
            }
            (_, Some(calls)) => {
                (200, Value::from(calls.iter().map(answer).collect::<Vec<_>>()).to_string())
            }
            (_, None) => (200, answer(&request).to_string()),
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        if stream.write_all((head + &text).as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0_u8; 8192];
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if bytes.len() >= end + 4 + length {
                return Some(bytes[end + 4..end + 4 + length].to_vec());
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}
