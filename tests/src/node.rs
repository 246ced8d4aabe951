//! Looking at an EVM node from outside: JSON-RPC, and what the stand-in says was really paid.

use alloy_primitives::U256;
use serde_json::{Value, json};

use crate::api::{http_client, send};

/// What the stand-in lists at once.
const TRANSFERS_MAX: usize = 10_000;

/// A node, real or not.
#[derive(Debug, Clone)]
pub struct Node {
    http: reqwest::Client,
    url: String,
}

/// A movement of an asset on the stand-in's canonical chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Transfer {
    pub to: String,
    pub asset: String,
    pub units: String,
    pub tx_hash: String,
}

impl Node {
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self { http: http_client(), url: url.to_owned() }
    }

    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// # Errors
    /// It does not answer, or answers with an error.
    pub async fn try_call(&self, method: &str, params: Value) -> Result<Value, String> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let reply = send(self.http.post(&self.url).json(&body)).await?;
        match reply.json().get("result") {
            Some(result) => Ok(result.clone()),
            None => Err(format!("{method}: {}", reply.text)),
        }
    }

    /// # Panics
    /// It does not answer, or answers with an error.
    pub async fn call(&self, method: &str, params: Value) -> Value {
        self.try_call(method, params).await.unwrap()
    }

    /// What an account has of the chain's own coin.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn balance(&self, account: &str) -> U256 {
        number(&self.call("eth_getBalance", json!([account, "latest"])).await)
    }

    /// What an account has of a token.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn token_balance(&self, contract: &str, account: &str) -> U256 {
        let data = format!("0x70a08231{}", word(account));
        number(&self.call("eth_call", json!([{ "to": contract, "data": data }, "latest"])).await)
    }

    /// Everything that was ever paid on the stand-in's chain, oldest first.
    ///
    /// # Panics
    /// It does not answer, or is no stand-in.
    pub async fn transfers(&self) -> Vec<Transfer> {
        let mut transfers = Vec::new();
        let mut from_block = 0;
        loop {
            let query = format!("from_block={from_block}&limit={TRANSFERS_MAX}");
            let request = self.http.get(format!("{}/transfers?{query}", self.url));
            let page = send(request).await.unwrap().json();
            let page = page["transfers"].as_array().expect("a stand-in lists its transfers");
            let block = |transfer: &Value| transfer["block"].as_u64().expect("a number");
            if page.len() < TRANSFERS_MAX {
                transfers.extend(page.iter().map(Transfer::read));
                return transfers;
            }
            // The last block may be cut off: it begins the next page.
            let last = page.last().map(block).expect("the page is full");
            assert!(last > from_block, "a block fits a page");
            transfers.extend(page.iter().filter(|it| block(it) < last).map(Transfer::read));
            from_block = last;
        }
    }
}

impl Transfer {
    fn read(transfer: &Value) -> Self {
        let text = |key: &str| transfer[key].as_str().expect("a text").to_owned();
        Self {
            to: text("to").to_lowercase(),
            asset: text("asset"),
            units: text("amount"),
            tx_hash: text("tx_hash"),
        }
    }
}

/// An address as an argument of a call.
#[must_use]
pub fn word(address: &str) -> String {
    format!("{:0>64}", address.trim_start_matches("0x").to_lowercase())
}

fn number(value: &Value) -> U256 {
    let text = value.as_str().expect("a quantity is a string");
    U256::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}
