//! JSON-RPC 2.0: the envelope, single and in batches.

use serde_json::{Value, json};

use super::fault::FaultRequest;
use super::record::Record;
use super::{Shared, http, methods};
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

    /// None where everything was a notification.
    pub(super) fn answer(self, shared: &Shared) -> Result<Option<Value>, JournalError> {
        let mut answers = Vec::with_capacity(self.requests.len());
        for request in &self.requests {
            let result = answer_one(shared, request)?;
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

fn answer_one(shared: &Shared, request: &Value) -> Result<Result<Value, RpcError>, JournalError> {
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
        "eth_sendRawTransaction" => send(shared, params),
        "tidegate_setFault" => set_fault(shared, params),
        "tidegate_clearFaults" => http::clear(shared).map(|()| Ok(Value::Bool(true))),
        _ => shared.with_chain(|chain| (methods::read(chain, method, params), Vec::new())),
    }
}

fn send(shared: &Shared, params: &[Value]) -> Result<Result<Value, RpcError>, JournalError> {
    let raw = match super::params::bytes(params, 0) {
        Ok(raw) => raw,
        Err(error) => return Ok(Err(error)),
    };
    shared.with_chain(|chain| match chain.judge(&raw) {
        Ok(transaction) => {
            let hash = transaction.hash.to_string();
            chain.pool.insert(transaction);
            (Ok(Value::from(hash)), vec![Record::accepted(&raw)])
        }
        Err(refusal) => {
            let (code, text) = chain.config.profile.answer(&refusal);
            (Err(RpcError::new(code, text)), Vec::new())
        }
    })
}

fn set_fault(shared: &Shared, params: &[Value]) -> Result<Result<Value, RpcError>, JournalError> {
    let request = params.first().cloned().unwrap_or_default();
    let request: FaultRequest = match serde_json::from_value(request) {
        Ok(request) => request,
        Err(error) => return Ok(Err(RpcError::invalid_params(error.to_string()))),
    };
    match request.fault() {
        Ok(fault) => http::set(shared, fault, request.count).map(|()| Ok(Value::Bool(true))),
        Err(reason) => Ok(Err(RpcError::invalid_params(reason))),
    }
}
