//! What a plugin may try with the signer: whatever its settings say, one after the other, and at
//! last the payment itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_plugin::{
    Event, Failure, Receipt, Withdrawal, done, settings,
    signer::{self, SignError, Transaction},
};

/// By asset.
#[derive(Deserialize)]
struct Settings {
    forgeries: BTreeMap<String, Vec<Forgery>>,
}

/// The fields of a transaction as they are to be tried.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forgery {
    name: String,
    chain_id: u64,
    to: String,
    value: String,
    /// In hexadecimal.
    data: String,
    gas_limit: u64,
    max_fee_per_gas: String,
    max_priority_fee_per_gas: String,
    #[serde(default)]
    replacement: bool,
    /// So many zero bytes behind the data.
    #[serde(default)]
    tail_bytes: usize,
}

#[derive(Serialize)]
struct Tried {
    name: String,
    answer: String,
}

pub(crate) fn try_all(event: &Event) -> Result<Receipt, Failure> {
    let withdrawal: Withdrawal = event.payload()?;
    let settings: Settings = settings::get()?;
    let mut tried = Vec::new();
    for forgery in settings.forgeries.get(&withdrawal.asset).into_iter().flatten() {
        let transaction = forgery.transaction();
        let signed = if forgery.replacement {
            signer::sign_replacement(&transaction)
        } else {
            signer::sign(&transaction)
        };
        let answer = match signed {
            Ok(signed) => format!("signed with nonce {}", signed.nonce),
            Err(SignError::Denied(reason)) => format!("denied: {reason}"),
            Err(SignError::Refused(reason) | SignError::Wait(reason)) => reason,
            Err(SignError::Unavailable(reason)) => format!("unavailable: {reason}"),
        };
        tried.push(Tried { name: forgery.name.clone(), answer });
    }
    Ok(done().detail(serde_json::json!(tried)))
}

impl Forgery {
    fn transaction(&self) -> Transaction {
        let digits: Vec<u8> = self.data.bytes().collect();
        let byte = |pair: &[u8]| {
            let text = std::str::from_utf8(pair).unwrap_or_default();
            u8::from_str_radix(text, 16).unwrap_or_default()
        };
        let mut data: Vec<u8> = digits.chunks(2).map(byte).collect();
        data.resize(data.len() + self.tail_bytes, 0);
        Transaction {
            chain_id: self.chain_id,
            to: self.to.clone(),
            value: self.value.clone(),
            data,
            gas_limit: self.gas_limit,
            max_fee_per_gas: self.max_fee_per_gas.clone(),
            max_priority_fee_per_gas: self.max_priority_fee_per_gas.clone(),
        }
    }
}
