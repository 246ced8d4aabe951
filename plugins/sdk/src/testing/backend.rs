//! The handler's side of the fake host: the functions that a component imports.

use std::time::SystemTime;

use serde_json::json;

use super::{
    host::with,
    reply::{Reply, SentRequest},
};
use crate::{
    checkpoint::CheckpointError,
    http::{HttpError, Prepared, Response},
    log::Level,
    messaging::{Message, PublishError},
    secrets::SecretError,
    signer::{PaymentTerms, SignError, SignedTransaction, Transaction},
};

pub(crate) fn now() -> SystemTime {
    with(|state| state.now).unwrap_or_else(SystemTime::now)
}

pub(crate) fn log(level: Level, message: &str) {
    with(|state| state.lines.push((level, message.to_string())));
}

pub(crate) fn settings() -> String {
    with(|state| state.settings.clone().unwrap_or_else(|| json!({})).to_string())
}

pub(crate) fn secret(name: &str) -> Result<String, SecretError> {
    with(|state| state.secrets.get(name).cloned())
        .ok_or_else(|| SecretError::Denied(name.to_string()))
}

pub(crate) fn hmac_sha256(name: &str, message: &[u8]) -> Result<Vec<u8>, SecretError> {
    let hmac = with(|state| state.hmac.clone());
    let known = with(|state| state.secrets.contains_key(name));
    match hmac {
        _ if !known => Err(SecretError::Denied(name.to_string())),
        Some(rule) => Ok(rule(name, message)),
        None => panic!("the test has no rule for HMAC: give one to FakeHost::hmac_sha256"),
    }
}

pub(crate) fn http(prepared: &Prepared) -> Result<Response, HttpError> {
    let request = SentRequest::of(prepared);
    // The rule is the test's own code and may ask the host, so it runs without the state in hand.
    let mut responder = with(|state| {
        state.requests.push(request.clone());
        state.responder.take()
    });
    let answer = responder.as_mut().and_then(|rule| rule(&request));
    let answer: Option<Reply> = with(|state| {
        state.responder = responder;
        answer.or_else(|| state.replies.pop_front())
    });
    match answer {
        Some(reply) => reply.outcome(&prepared.call()),
        None => panic!("the test has no reply for {} {}", request.method, request.url),
    }
}

pub(crate) fn checkpoint_load() -> Result<Option<Vec<u8>>, CheckpointError> {
    with(|state| match state.checkpoint_error.take() {
        Some(error) => Err(error),
        None => Ok(state.checkpoint.clone()),
    })
}

pub(crate) fn checkpoint_save(bytes: &[u8]) -> Result<(), CheckpointError> {
    with(|state| match state.checkpoint_error.take() {
        Some(error) => Err(error),
        None => {
            state.checkpoint = Some(bytes.to_vec());
            Ok(())
        }
    })
}

pub(crate) fn publish(message: Message) -> Result<(), PublishError> {
    with(|state| match state.publish_errors.pop_front() {
        Some(error) => Err(error),
        None => {
            state.published.push(message);
            Ok(())
        }
    })
}

pub(crate) fn terms(network: &str, asset: &str) -> Result<PaymentTerms, SignError> {
    with(|state| state.signer.terms(network, asset))
}

pub(crate) fn signed() -> Result<Option<SignedTransaction>, SignError> {
    with(|state| Ok(state.signer.signed.clone()))
}

pub(crate) fn sign(transaction: &Transaction) -> Result<SignedTransaction, SignError> {
    with(|state| state.signer.sign(transaction))
}

pub(crate) fn sign_replacement(transaction: &Transaction) -> Result<SignedTransaction, SignError> {
    with(|state| state.signer.replace(transaction))
}
