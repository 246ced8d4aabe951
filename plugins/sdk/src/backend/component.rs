//! The component's imports, in the crate's own types.

use std::time::SystemTime;

use crate::{
    bindings::handler_world::tidegate::plugin as host,
    checkpoint::CheckpointError,
    log::Level,
    messaging::{Message, PublishError},
    secrets::SecretError,
    signer::{PaymentTerms, SignError, SignedTransaction, Transaction},
};

pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

pub(crate) fn log(level: Level, message: &str) {
    let level = match level {
        Level::Debug => host::log::Level::Debug,
        Level::Info => host::log::Level::Info,
        Level::Warn => host::log::Level::Warn,
        Level::Error => host::log::Level::Error,
    };
    host::log::write(level, message);
}

pub(crate) fn settings() -> String {
    host::settings::all()
}

pub(crate) fn secret(name: &str) -> Result<String, SecretError> {
    host::secrets::get(name).map_err(secret_error)
}

pub(crate) fn hmac_sha256(name: &str, message: &[u8]) -> Result<Vec<u8>, SecretError> {
    host::secrets::hmac_sha256(name, message).map_err(secret_error)
}

fn secret_error(error: host::secrets::SecretError) -> SecretError {
    match error {
        host::secrets::SecretError::Denied(text) => SecretError::Denied(text),
        host::secrets::SecretError::Unavailable(text) => SecretError::Unavailable(text),
    }
}

pub(crate) fn checkpoint_load() -> Result<Option<Vec<u8>>, CheckpointError> {
    host::checkpoint::load().map_err(checkpoint_error)
}

pub(crate) fn checkpoint_save(bytes: &[u8]) -> Result<(), CheckpointError> {
    host::checkpoint::save(bytes).map_err(checkpoint_error)
}

fn checkpoint_error(error: host::checkpoint::CheckpointError) -> CheckpointError {
    match error {
        host::checkpoint::CheckpointError::TooLarge(text) => CheckpointError::TooLarge(text),
        host::checkpoint::CheckpointError::Unavailable(text) => CheckpointError::Unavailable(text),
    }
}

pub(crate) fn publish(message: Message) -> Result<(), PublishError> {
    let Message { topic, id, content_type, body } = message;
    host::messaging::publish(&host::messaging::Message { topic, id, content_type, body }).map_err(
        |error| match error {
            host::messaging::PublishError::Denied(text) => PublishError::Denied(text),
            host::messaging::PublishError::Refused(text) => PublishError::Refused(text),
            host::messaging::PublishError::Unavailable(text) => PublishError::Unavailable(text),
        },
    )
}

pub(crate) fn terms(network: &str, asset: &str) -> Result<PaymentTerms, SignError> {
    let host::signer::PaymentTerms { chain_id, account, contract, decimals } =
        host::signer::terms(network, asset).map_err(sign_error)?;
    Ok(PaymentTerms { chain_id, account, contract, decimals })
}

pub(crate) fn signed() -> Result<Option<SignedTransaction>, SignError> {
    Ok(host::signer::signed().map_err(sign_error)?.map(signed_transaction))
}

pub(crate) fn sign(transaction: &Transaction) -> Result<SignedTransaction, SignError> {
    host::signer::sign(&fields(transaction)).map(signed_transaction).map_err(sign_error)
}

pub(crate) fn sign_replacement(transaction: &Transaction) -> Result<SignedTransaction, SignError> {
    host::signer::sign_replacement(&fields(transaction)).map(signed_transaction).map_err(sign_error)
}

fn fields(transaction: &Transaction) -> host::signer::Transaction {
    let Transaction {
        chain_id,
        to,
        value,
        data,
        gas_limit,
        max_fee_per_gas,
        max_priority_fee_per_gas,
    } = transaction.clone();
    host::signer::Transaction {
        chain_id,
        to,
        value,
        data,
        gas_limit,
        max_fee_per_gas,
        max_priority_fee_per_gas,
    }
}

fn signed_transaction(signed: host::signer::SignedTransaction) -> SignedTransaction {
    let host::signer::SignedTransaction {
        raw,
        hash,
        nonce,
        gas_limit,
        max_fee_per_gas,
        max_priority_fee_per_gas,
    } = signed;
    SignedTransaction { raw, hash, nonce, gas_limit, max_fee_per_gas, max_priority_fee_per_gas }
}

fn sign_error(error: host::signer::SignError) -> SignError {
    match error {
        host::signer::SignError::Denied(text) => SignError::Denied(text),
        host::signer::SignError::Refused(text) => SignError::Refused(text),
        host::signer::SignError::Wait(text) => SignError::Wait(text),
        host::signer::SignError::Unavailable(text) => SignError::Unavailable(text),
    }
}
