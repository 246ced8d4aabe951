//! The API from outside, in process: real router, a fake store that remembers.

mod bad_events;
mod bad_requests;
mod events;
mod fake;
mod idempotency;
mod operations;
mod plugins;
mod policies;
mod problems;
mod releases;
mod routes;
mod server;
mod table;
mod withdrawals;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::domain::Flow;
use fake::{FakeJudge, FakeOrder, FakeStore};

struct Host {
    store: Arc<FakeStore>,
    judge: Arc<FakeJudge>,
    backlog: tokio::sync::watch::Sender<crate::store::Backlog>,
    registry: Arc<crate::plugin::Registry>,
    router: Router,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The fields that a problem names.
    fn fields(&self) -> Vec<String> {
        let errors = self.json()["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
    }
}

fn host() -> Host {
    host_with(Limits {
        body_timeout: Duration::from_millis(50),
        request_timeout: Duration::from_secs(5),
        ready_timeout: Duration::from_millis(50),
        ..Limits::default()
    })
}

fn host_with(limits: Limits) -> Host {
    host_of(limits, ReleaseRule { from_store: true, hold_widening: true })
}

fn host_of(limits: Limits, releases_rule: ReleaseRule) -> Host {
    let store = Arc::new(FakeStore::default());
    let judge = Arc::new(FakeJudge::default());
    let tokens = tokens();
    let nothing =
        crate::store::Backlog { read_at: std::time::Instant::now(), types: vec![], waits: vec![] };
    let (backlog, backlog_seen) = tokio::sync::watch::channel(nothing);
    let registry = Arc::new(crate::plugin::Registry::new(crate::plugin::Routes::default()));
    let router = router(Api {
        accept: store.clone(),
        operate: store.clone(),
        control: store.clone(),
        breakers: Arc::<crate::store::MemoryBreakers>::default(),
        backlog: store.clone(),
        backlog_seen,
        registry: Arc::clone(&registry),
        metrics: Arc::new(|| "tidegate_up 1\n".to_owned()),
        repair: store.clone(),
        rates: store.clone(),
        releases: store.clone(),
        approvals: store.clone(),
        policies: store.clone(),
        releases_rule,
        blame: store.clone(),
        ordered: Arc::new(FakeOrder),
        chains: Arc::default(),
        judge: judge.clone(),
        tokens,
        flow: Flow::default(),
        limits,
    });
    Host { store, judge, backlog, registry, router }
}

/// One that may do everything, and one for each role, of its name.
fn tokens() -> Tokens {
    let token = |name: &str, roles: &[Role]| Token {
        name: name.into(),
        sha256: token_digest(name),
        roles: roles.to_vec(),
    };
    let one_role = Role::ALL.map(|role| token(role.as_str(), &[role]));
    let all = token("all", &Role::ALL);
    Tokens::new(one_role.into_iter().chain([all]).collect()).unwrap()
}

impl Host {
    async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Reply { status: parts.status, headers: parts.headers, text }
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(request("GET", path, "")).await
    }

    async fn submit(&self, key: &str, body: &Value) -> Reply {
        self.send(submission(key, body.to_string())).await
    }
}

/// A request of the caller who may do everything.
fn request(method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", "Bearer all")
        .body(body.into())
        .unwrap()
}

fn submission(key: &str, body: impl Into<Body>) -> Request<Body> {
    let mut request = request("POST", "/v1/withdrawals", body);
    request.headers_mut().insert("content-type", "application/json".parse().unwrap());
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    request
}

/// A request that hands in events.
fn events(key: &str, body: impl Into<Body>) -> Request<Body> {
    let mut request = submission(key, body);
    *request.uri_mut() = "/v1/events".parse().unwrap();
    request
}

/// What an operator decides about an event.
fn decision(id: &str, what: &str, body: &str) -> Request<Body> {
    let path = format!("/v1/events/{id}/{what}");
    let mut request = request("POST", &path, body.to_owned());
    request.headers_mut().insert("content-type", "application/json".parse().unwrap());
    request
}

fn an_event() -> Value {
    json!({
        "aggregate_type": "ORDER",
        "aggregate_id": "4711",
        "event_type": "ORDER_PAID",
        "payload": {"order": 4711},
    })
}

fn a_body() -> Value {
    json!({
        "user_id": "user-1",
        "asset": "ETH",
        "network": "eip155:1",
        "amount": "1.5",
        "destination_address": "0x52908400098527886E0F7030069857D2E4169EE7",
    })
}
