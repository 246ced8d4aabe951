//! Looking at the partner's stand-in from outside, and making it misbehave.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::{http_client, send};

const PAGE: usize = 1000;

/// The partner's stand-in.
#[derive(Debug, Clone)]
pub struct Partner {
    http: reqwest::Client,
    url: String,
    key: String,
}

impl Partner {
    #[must_use]
    pub fn new(url: &str, key: Option<&str>) -> Self {
        let key = key.unwrap_or_default().to_owned();
        Self { http: http_client(), url: url.to_owned(), key }
    }

    /// All its records, by the withdrawal's id.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn records(&self) -> BTreeMap<String, Value> {
        let mut records = BTreeMap::new();
        let mut after = String::new();
        loop {
            let url = format!("{}/withdrawals?limit={PAGE}{after}", self.url);
            let reply = send(self.http.get(url).bearer_auth(&self.key)).await.unwrap();
            assert_eq!(reply.status, 200, "{}", reply.text);
            let page = reply.json();
            for record in page["withdrawals"].as_array().unwrap() {
                records.insert(record["id"].as_str().unwrap().to_owned(), record.clone());
            }
            match page["next"].as_str() {
                Some(last) => after = format!("&after={last}"),
                None => return records,
            }
        }
    }

    /// Makes requests fail until it is told otherwise.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn misbehave(&self, fault: &Value) {
        let request = self.http.post(format!("{}/_faults", self.url)).json(fault);
        let reply = send(request).await.unwrap();
        assert_eq!(reply.status, 204, "{}", reply.text);
    }

    /// # Panics
    /// It does not answer.
    pub async fn behave(&self) {
        let reply = send(self.http.delete(format!("{}/_faults", self.url))).await.unwrap();
        assert_eq!(reply.status, 204, "{}", reply.text);
    }
}
