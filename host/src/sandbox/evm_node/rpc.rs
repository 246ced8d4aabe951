//! JSON-RPC 2.0: the envelope, single and in batches.

use serde_json::{Value, json};

use super::Shared;
use super::fault_request::FaultRequest;
use super::reader::Reader;
use super::{methods, params, view};
use crate::sandbox::journal::JournalError;

/// What geth takes in one batch.
const BATCH_MAX: usize = 1000;

/// An error as JSON-RPC says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RpcError {
    pub(super) code: i64,
    pub(super) message: String,
    pub(super) data: Option<String>,
}

impl RpcError {
    pub(super) fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    pub(super) fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(-32602, message)
    }

    fn value(&self) -> Value {
        let mut value = json!({ "code": self.code, "message": self.message });
        if let Some(data) = &self.data {
            value["data"] = Value::from(data.as_str());
        }
        value
    }
}

/// The requests of one HTTP request.
#[derive(Debug)]
pub(super) struct Batch {
    requests: Vec<Value>,
    is_single: bool,
}

impl Batch {
    /// An answer instead, where there is nothing to ask.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Value> {
        let refuse = |code, text: &str| Err(answer(&Value::Null, &Err(RpcError::new(code, text))));
        match serde_json::from_slice(body) {
            Ok(Value::Array(requests)) if requests.is_empty() => refuse(-32600, "empty batch"),
            Ok(Value::Array(requests)) if requests.len() > BATCH_MAX => {
                refuse(-32600, "batch too large")
            }
            Ok(Value::Array(requests)) => Ok(Self { requests, is_single: false }),
            Ok(request @ Value::Object(_)) => Ok(Self { requests: vec![request], is_single: true }),
            Ok(_) => refuse(-32600, "invalid request"),
            Err(_) => refuse(-32700, "parse error"),
        }
    }

    fn methods(&self) -> impl Iterator<Item = &str> {
        self.requests.iter().filter_map(|request| request["method"].as_str())
    }

    /// Whether it only speaks to the stand-in's own switches.
    pub(super) fn is_control(&self) -> bool {
        self.methods().all(|method| method.starts_with("tidegate_"))
    }

    pub(super) fn sends(&self) -> bool {
        self.methods().any(|method| method == "eth_sendRawTransaction")
    }

    /// The bytes that are sent with it, as far as they can be read.
    pub(super) fn raw_transactions(&self) -> Vec<Vec<u8>> {
        self.requests
            .iter()
            .filter(|request| request["method"] == "eth_sendRawTransaction")
            .filter_map(|request| params::bytes(request["params"].as_array()?, 0).ok())
            .collect()
    }

    /// None where everything was a notification. `forgets`: what is sent is taken, and not kept.
    pub(super) fn answer(
        self,
        shared: &Shared,
        node: usize,
        forgets: bool,
    ) -> Result<Option<Value>, JournalError> {
        let mut answers = Vec::with_capacity(self.requests.len());
        for request in &self.requests {
            let result = answer_one(shared, node, forgets, request)?;
            if let Some(id) = request.get("id") {
                answers.push(answer(id, &result));
            } else if !request.is_object() {
                answers.push(answer(&Value::Null, &result));
            }
        }
        Ok(if self.is_single {
            answers.pop()
        } else {
            (!answers.is_empty()).then_some(answers.into())
        })
    }
}

fn answer(id: &Value, result: &Result<Value, RpcError>) -> Value {
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error.value() }),
    }
}

fn answer_one(
    shared: &Shared,
    node: usize,
    forgets: bool,
    request: &Value,
) -> Result<Result<Value, RpcError>, JournalError> {
    let Some(method) = request["method"].as_str() else {
        return Ok(Err(RpcError::new(-32600, "invalid request")));
    };
    let no_params = Vec::new();
    let params = match &request["params"] {
        Value::Array(params) => params,
        Value::Null => &no_params,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            return Ok(Err(RpcError::invalid_params("non-array args")));
        }
    };
    match method {
        "eth_sendRawTransaction" => send(shared, node, forgets, params),
        "tidegate_setFault" => set_fault(shared, node, params),
        "tidegate_clearFaults" => shared.heal().map(|()| Ok(Value::Bool(true))),
        _ => shared.read(|network| {
            let reader = Reader::new(&network.chain, &network.nodes[node]);
            methods::read(&reader, method, params)
        }),
    }
}

fn send(
    shared: &Shared,
    node: usize,
    forgets: bool,
    params: &[Value],
) -> Result<Result<Value, RpcError>, JournalError> {
    let raw = match params::bytes(params, 0) {
        Ok(raw) => raw,
        Err(error) => return Ok(Err(error)),
    };
    let answer = shared.send(node, &raw, forgets)?;
    Ok(answer.map(view::hash).map_err(|(code, text)| RpcError::new(code, text)))
}

fn set_fault(
    shared: &Shared,
    node: usize,
    params: &[Value],
) -> Result<Result<Value, RpcError>, JournalError> {
    match FaultRequest::parse(params.first().cloned().unwrap_or_default()) {
        Ok(request) => shared.set(node, request).map(|()| Ok(Value::Bool(true))),
        Err(reason) => Ok(Err(RpcError::invalid_params(reason))),
    }
}
