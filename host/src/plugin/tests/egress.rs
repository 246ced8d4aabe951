//! What goes over the wire, and what does not.

use std::time::Duration;

use serde_json::json;

use super::components::{ENGINE, assert_retry, attempt, detail, event, hostile};
use super::fakes::services;
use super::server::{Answer, Server, header};
use crate::domain::{OutboxEvent, Outcome};
use crate::plugin::Release;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn granted(server: &Server) -> Release {
    hostile(&format!("[grants]\n{}", server.grant())).await
}

fn traced(payload: &serde_json::Value) -> OutboxEvent {
    OutboxEvent { traceparent: Some(TRACE.into()), ..event(payload) }
}

#[tokio::test]
async fn the_host_adds_the_key_and_the_trace() {
    let server = Server::start(Answer::ok()).await;
    let release = granted(&server).await;
    let event = traced(&json!({"do": "call", "url": server.url(), "count": 2}));
    for _ in 0..2 {
        detail(release.attempt(&ENGINE, &event, &services()).await);
    }
    let requests = server.requests();
    let key = event.idempotency_key;
    for (request, number) in requests.iter().zip([1, 2, 1, 2]) {
        assert_eq!(header(request, "idempotency-key"), [format!("{key}-{number}")]);
        assert_eq!(header(request, "traceparent"), [TRACE]);
        assert_eq!(header(request, "host"), [server.address.to_string()]);
        assert!(request.starts_with("PUT /path HTTP/1.1\r\n"), "{request}");
    }
    assert_eq!(requests.len(), 4);
    assert_eq!(server.connections(), 1, "connections are kept");
}

#[tokio::test]
async fn what_the_guest_says_itself_is_left_alone() {
    let server = Server::start(Answer::ok()).await;
    let headers = json!({"Idempotency-Key": "mine", "traceparent": "00-mine"});
    let event = traced(&json!({"do": "call", "url": server.url(), "headers": headers}));
    detail(granted(&server).await.attempt(&ENGINE, &event, &services()).await);
    let requests = server.requests();
    assert_eq!(header(&requests[0], "idempotency-key"), ["mine"]);
    assert_eq!(header(&requests[0], "traceparent"), ["00-mine"]);
}

#[tokio::test]
async fn without_a_trace_none_is_added() {
    let server = Server::start(Answer::ok()).await;
    let payload = json!({"do": "call", "url": server.url()});
    detail(attempt(&granted(&server).await, &services(), payload).await);
    assert!(header(&server.requests()[0], "traceparent").is_empty());
}

#[tokio::test]
async fn headers_of_the_connection_are_not_the_guests() {
    let server = Server::start(Answer::ok()).await;
    let release = granted(&server).await;
    for name in [
        "Host",
        "Connection",
        "Keep-Alive",
        "Upgrade",
        "HTTP2-Settings",
        "Transfer-Encoding",
        "TE",
        "Trailer",
        "Expect",
        "Proxy-Connection",
        "Proxy-Authorization",
    ] {
        let payload = json!({"do": "call", "url": server.url(), "headers": {name: "evil.example"}});
        let outcome = attempt(&release, &services(), payload).await;
        assert!(matches!(outcome, Outcome::Reject { .. }), "{name}: {outcome:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_tunnel_and_a_trace_are_refused() {
    let server = Server::start(Answer::ok()).await;
    let release = granted(&server).await;
    for method in ["CONNECT", "connect", "TRACE", "Trace", "TRACK"] {
        let payload = json!({"do": "call", "url": server.url(), "method": method});
        let outcome = attempt(&release, &services(), payload).await;
        assert!(matches!(outcome, Outcome::Reject { .. }), "{method}: {outcome:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_denied_request_names_the_line_to_paste() {
    let server = Server::start(Answer::ok()).await;
    let payload = json!({"do": "call", "url": server.url(), "bytes": 10_000});
    let outcome = attempt(&hostile("").await, &services(), payload).await;
    let origin = format!("http://{}", server.address);
    let said = format!(
        "request to {origin} denied: to allow it, put \"{origin}\" into grants.http of hostile"
    );
    assert_retry(&outcome, &said);
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_denied_guest_that_never_ends_its_body_gets_the_answer_all_the_same() {
    let payload = json!({"do": "call_without_end", "url": "http://198.51.100.7/"});
    let outcome = attempt(&hostile("").await, &services(), payload).await;
    assert_retry(&outcome, "put \"http://198.51.100.7\" into grants.http");
    assert!(!format!("{outcome:?}").contains("time limit"), "{outcome:?}");
}

#[tokio::test]
async fn a_grant_is_for_one_origin() {
    let (granted_one, other) =
        (Server::start(Answer::ok()).await, Server::start(Answer::ok()).await);
    let release = granted(&granted_one).await;
    let payload = json!({"do": "call", "url": other.url()});
    assert_retry(&attempt(&release, &services(), payload).await, "denied");
    assert_eq!((granted_one.connections(), other.connections()), (0, 0));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Server::start(Answer::ok()).await;
    let found =
        format!("HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", other.url());
    let server = Server::start(Answer::Raw(found)).await;
    let payload = json!({"do": "call", "url": server.url()});
    let seen = detail(attempt(&granted(&server).await, &services(), payload).await);
    assert_eq!(seen, json!({"status": 302, "bytes": 0}));
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn no_spelling_of_a_private_address_is_dialled_without_private() {
    let server = Server::start(Answer::ok()).await;
    for host in [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
        "[::ffff:a9fe:a9fe]",
    ] {
        let origin = format!("http://{host}:{}", server.port());
        let release = hostile(&format!("[grants]\nhttp = [\"{origin}\"]")).await;
        let payload = json!({"do": "call", "url": origin});
        let outcome = attempt(&release, &services(), payload).await;
        assert_retry(&outcome, "not public");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_private_grant_allows_its_address_in_every_spelling() {
    let server = Server::start(Answer::ok()).await;
    let release = granted(&server).await;
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "127.1"] {
        let payload = json!({"do": "call", "url": format!("http://{host}:{}/", server.port())});
        detail(attempt(&release, &services(), payload).await);
    }
    for request in server.requests() {
        assert_eq!(header(&request, "host"), [server.address.to_string()], "one spelling goes out");
    }
    assert_eq!(server.connections(), 1, "and one pool holds them all");
    let payload = json!({"do": "call", "url": format!("http://localhost:{}/", server.port())});
    assert_retry(&attempt(&release, &services(), payload).await, "denied");
}

#[tokio::test]
async fn userinfo_is_refused() {
    let server = Server::start(Answer::ok()).await;
    let payload = json!({"do": "call", "url": format!("http://user@{}/", server.address)});
    let outcome = attempt(&granted(&server).await, &services(), payload).await;
    assert!(matches!(outcome, Outcome::Reject { .. }), "{outcome:?}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_was_not_sent() {
    let release = hostile("[grants]\nhttp = [\"http://nobody.invalid\"]").await;
    let payload = json!({"do": "call", "url": "http://nobody.invalid/"});
    let outcome = attempt(&release, &services(), payload).await;
    assert_retry(&outcome, "the name nobody.invalid cannot be resolved");
    assert_retry(&outcome, "nothing was sent");
}

#[tokio::test]
async fn a_target_without_tls_was_not_sent_anything() {
    let server = Server::start(Answer::ok()).await;
    let origin = format!("https://{}", server.address);
    let grant = format!("[grants]\nhttp = [{{ origin = \"{origin}\", private = true }}]");
    let payload = json!({"do": "call", "url": origin, "ms": 2000});
    let call = async { attempt(&hostile(&grant).await, &services(), payload).await };
    let outcome = tokio::time::timeout(Duration::from_secs(20), call).await.unwrap();
    assert_retry(&outcome, "nothing was sent");
    assert!(server.requests().iter().all(|request| !request.contains("PUT")));
}

#[tokio::test]
async fn a_grant_may_name_methods_and_paths() {
    let server = Server::start(Answer::ok()).await;
    let origin = format!("http://{}", server.address);
    let grant = format!(
        "[grants]\nhttp = [{{ origin = \"{origin}\", private = true, methods = [\"PUT\"], \
         paths = [\"/v1/\"] }}]"
    );
    let release = hostile(&grant).await;
    let call = |method: &str, path: &str| json!({"do": "call", "url": format!("{origin}{path}"), "method": method});
    detail(attempt(&release, &services(), call("PUT", "/v1/a?b=/../c")).await);
    assert!(server.requests()[0].starts_with("PUT /v1/a?b=/../c HTTP/1.1"));
    for (method, path, line) in [
        ("DELETE", "/v1/a", "methods = [\"DELETE\"], paths = [\"/v1/a\"], private = true }"),
        ("PUT", "/v2/a?q=1", "methods = [\"PUT\"], paths = [\"/v2/a\"], private = true }"),
        ("PUT", "/v1/../admin", "denied: to allow it, put { origin"),
        ("PUT", "/v1/%2e%2e/admin", "denied: to allow it, put { origin"),
        ("PUT", "/v1/..%2Fadmin", "denied: to allow it, put { origin"),
    ] {
        assert_retry(&attempt(&release, &services(), call(method, path)).await, line);
    }
    assert_eq!(server.requests().len(), 1);
}
