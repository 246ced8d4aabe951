//! Looking at the broker's stand-in from outside.

use serde_json::Value;

use crate::api::{http_client, send};

/// The broker's stand-in.
#[derive(Debug, Clone)]
pub struct Broker {
    http: reqwest::Client,
    url: String,
}

/// A message, wherever it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub topic: String,
    /// A CloudEvent.
    pub body: Value,
}

impl Broker {
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self { http: http_client(), url: url.to_owned() }
    }

    /// Everything that was ever published, in the order in which it was taken.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn messages(&self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let url = format!("{}/messages?limit=1000&after={}", self.url, messages.len());
            let page = send(self.http.get(url)).await.unwrap().json();
            let items = page["messages"].as_array().expect("a page has messages");
            if items.is_empty() {
                return messages;
            }
            messages.extend(items.iter().map(|message| Message {
                topic: message["topic"].as_str().unwrap().to_owned(),
                body: message["body"].clone(),
            }));
        }
    }
}
