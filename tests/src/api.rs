//! A caller of the host's HTTP API.

use std::sync::Once;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use crate::eventually::eventually;
use crate::order::Order;

/// Longer than the host's own limit for a request.
const TIMEOUT: Duration = Duration::from_secs(60);
const PAGE: &str = "limit=200";

/// A client of a host, with a token.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    url: String,
    token: String,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Reply {
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// A header's text, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The fields that a problem names.
    #[must_use]
    pub fn fields(&self) -> Vec<String> {
        let errors = self.json()["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().filter_map(|error| error["field"].as_str()).map(str::to_owned).collect()
    }
}

/// An HTTP client of a test's own: its connections belong to the test's runtime.
///
/// # Panics
/// None can be made.
#[must_use]
pub fn http_client() -> reqwest::Client {
    static CRYPTOGRAPHY: Once = Once::new();
    CRYPTOGRAPHY.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build().unwrap()
}

/// Sends a request and reads the whole answer.
///
/// # Errors
/// No answer came.
pub async fn send(request: RequestBuilder) -> Result<Reply, String> {
    let response = request.send().await.map_err(|error| format!("{error:?}"))?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.map_err(|error| format!("{error:?}"))?;
    Ok(Reply { status, headers, text })
}

impl Api {
    #[must_use]
    pub fn new(url: &str, token: &str) -> Self {
        Self { http: http_client(), url: url.to_owned(), token: token.to_owned() }
    }

    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A request with the token, to be completed.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    /// The POST of an order.
    pub fn asking(&self, order: &Order) -> RequestBuilder {
        let request = self.request(Method::POST, "/v1/withdrawals");
        request.header("Idempotency-Key", format!("\"{}\"", order.key)).json(&order.body())
    }

    /// One POST of an order.
    ///
    /// # Errors
    /// No answer came: nobody knows whether it was accepted.
    pub async fn post(&self, order: &Order) -> Result<Reply, String> {
        send(self.asking(order)).await
    }

    /// Hands in an order that must be accepted now, and gives the withdrawal's id.
    pub async fn submit(&self, order: &Order) -> String {
        let reply = self.post(order).await.unwrap();
        assert_eq!(reply.status, 201, "{}", reply.text);
        let id = reply.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(reply.header("location"), format!("/v1/withdrawals/{id}"));
        id
    }

    /// The answer to a GET that must succeed.
    pub async fn get(&self, path: &str) -> Value {
        self.try_get(path).await.unwrap()
    }

    /// The same, for a host that may be down.
    ///
    /// # Errors
    /// It did not answer, or not with 200.
    pub async fn try_get(&self, path: &str) -> Result<Value, String> {
        let reply = send(self.request(Method::GET, path)).await?;
        if reply.status == 200 { Ok(reply.json()) } else { Err(format!("{path}: {reply:?}")) }
    }

    /// All items of a list, over all its pages.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("{path}{joint}{PAGE}{cursor}")).await;
            items.extend(page["items"].as_array().expect("a page has items").iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// The events of a withdrawal of one type, oldest first.
    pub async fn events_of(&self, withdrawal: &str, event_type: &str) -> Vec<Value> {
        let path = format!(
            "/v1/events?aggregate_type=WITHDRAWAL&aggregate_id={withdrawal}&event_type={event_type}"
        );
        let mut events = self.all(&path).await;
        events.reverse();
        events
    }

    /// Waits until a withdrawal has this status, and gives it.
    pub async fn reaches(&self, id: &str, status: &str, within: Duration) -> Value {
        eventually(&format!("{id} is {status}"), within, async || {
            let withdrawal = self.get(&format!("/v1/withdrawals/{id}")).await;
            if withdrawal["status"] == status {
                Ok(withdrawal)
            } else {
                Err(withdrawal.to_string())
            }
        })
        .await
    }

    /// Waits until an event has this status, and gives it with its attempts.
    pub async fn event_reaches(&self, id: &str, status: &str, within: Duration) -> Value {
        eventually(&format!("event {id} is {status}"), within, async || {
            let history = self.get(&format!("/v1/events/{id}")).await;
            let reached = history["event"]["status"] == status;
            if reached { Ok(history) } else { Err(history.to_string()) }
        })
        .await
    }

    /// Waits until as many withdrawals are CONFIRMED and no event is left to do.
    pub async fn all_done(&self, withdrawals: usize, within: Duration) {
        eventually("all withdrawals are CONFIRMED", within, async || {
            let confirmed = self.all("/v1/withdrawals?status=CONFIRMED").await.len();
            crate::eventually::equal(&confirmed, &withdrawals)
        })
        .await;
        eventually("no event is left to do", within, async || {
            for status in ["PENDING", "PROCESSING", "RETRYING", "FAILED"] {
                let left = self.get(&format!("/v1/events?status={status}&limit=3")).await;
                if left["items"] != Value::Array(Vec::new()) {
                    return Err(left.to_string());
                }
            }
            Ok(())
        })
        .await;
    }
}
