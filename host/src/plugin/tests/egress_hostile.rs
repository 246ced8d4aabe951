//! Targets and guests that mean harm on the wire.

use std::time::Duration;

use serde_json::{Value, json};

use super::components::{assert_retry, assert_unknown, attempt, detail, hostile};
use super::fakes::services;
use super::server::{Answer, Server};
use crate::domain::Outcome;
use crate::plugin::Release;

async fn granted(server: &Server, more: &str) -> Release {
    let grant = format!("{{ origin = \"http://{}\", private = true{more} }}", server.address);
    hostile(&format!("[grants]\nhttp = [{grant}]")).await
}

/// An attempt that must end long before the call's own time limit.
async fn ends(release: &Release, payload: Value) -> Outcome {
    let services = services();
    let attempt = attempt(release, &services, payload);
    tokio::time::timeout(Duration::from_secs(8), attempt).await.expect("it ends by itself")
}

#[tokio::test]
async fn nothing_of_a_guest_can_break_a_line() {
    let server = Server::start(Answer::ok()).await;
    let release = granted(&server, "").await;
    let url = server.url();
    let injected = "a\r\nInjected: yes";
    for payload in [
        json!({"do": "call", "url": url, "headers": {"X-Test": injected}}),
        json!({"do": "call", "url": url, "headers": {"X-Test\r\nInjected": "yes"}}),
        json!({"do": "call", "url": url, "method": "GET / HTTP/1.1\r\nInjected: yes\r\n\r\nGET"}),
        json!({"do": "call", "url": format!("{url}?q=a\r\nInjected: yes")}),
        json!({"do": "call", "url": format!("{url} HTTP/1.1\r\nInjected: yes")}),
        json!({"do": "call", "url": format!("http://{}\r\n/", server.address)}),
        json!({"do": "call_raw", "url": url, "headers": {"X-Test": injected}}),
        json!({"do": "call_raw", "url": url, "headers": {"X-Test": "a\nInjected: yes"}}),
        json!({"do": "call_raw", "url": url, "method": "GET\r\nInjected: yes"}),
        json!({"do": "call_raw", "url": format!("{url}\r\nInjected: yes")}),
        json!({"do": "call_raw", "url": url, "headers": {"Host": "evil.example"}}),
        json!({"do": "call_raw", "url": url, "headers": {"host": "evil.example"}}),
        json!({"do": "call_raw", "url": url, "headers": {"Transfer-Encoding": "chunked"}}),
        json!({"do": "call_raw", "url": url, "headers": {"Upgrade": "websocket"}}),
        json!({"do": "call_raw", "url": url, "headers": {"Content-Length": "5, 6"}}),
    ] {
        let outcome = ends(&release, payload.clone()).await;
        assert!(!matches!(outcome, Outcome::Done(_)), "{payload}: {outcome:?}");
    }
    let requests = server.requests();
    assert!(requests.iter().all(|it| !it.to_lowercase().contains("injected: yes")), "{requests:?}");
    assert!(requests.iter().all(|it| !it.contains("evil.example")), "{requests:?}");
}

#[tokio::test]
async fn a_target_that_switches_protocols_is_left() {
    let switched =
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
    let server = Server::start(Answer::Raw(switched.into())).await;
    let release = granted(&server, "").await;
    let outcome = ends(&release, json!({"do": "call", "url": server.url()})).await;
    assert_unknown(&outcome, "the target switched to another protocol, which no grant allows");
}

#[tokio::test]
async fn a_target_that_only_announces_its_answer_is_left() {
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(200);
    let last = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let server = Server::start(Answer::Raw(format!("{hints}{last}"))).await;
    let release = granted(&server, "").await;
    let outcome = ends(&release, json!({"do": "call", "url": server.url()})).await;
    assert_unknown(&outcome, "limit of 16 answers of the 1xx kind reached");
    let few = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(3);
    let server = Server::start(Answer::Raw(format!("{few}{last}"))).await;
    let release = granted(&server, "").await;
    detail(ends(&release, json!({"do": "call", "url": server.url()})).await);
}

#[tokio::test]
async fn the_head_of_an_answer_is_bounded() {
    let many: String = (0..200).map(|n| format!("x-{n}: a\r\n")).collect();
    let large = format!("x-large: {}\r\n", "a".repeat(100 << 10));
    for headers in [many, large] {
        let answer = format!("HTTP/1.1 200 OK\r\n{headers}content-length: 0\r\n\r\n");
        let server = Server::start(Answer::Raw(answer)).await;
        let release = granted(&server, "").await;
        let outcome = ends(&release, json!({"do": "call", "url": server.url()})).await;
        assert_unknown(
            &outcome,
            "limit of 100 headers and 65536 bytes of an answer's head reached",
        );
    }
}

#[tokio::test]
async fn an_answer_that_drips_ends_with_its_time() {
    let server = Server::start(Answer::Drip).await;
    let release = granted(&server, ", request_timeout = \"300ms\"").await;
    let outcome = ends(&release, json!({"do": "call", "url": server.url()})).await;
    assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
    assert!(!format!("{outcome:?}").contains("time limit"), "{outcome:?}");
}

#[tokio::test]
async fn an_answer_that_pauses_ends_with_its_idle_time() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx";
    let server = Server::start(Answer::Raw(head.into())).await;
    let release = granted(&server, ", idle_timeout = \"200ms\"").await;
    let outcome = ends(&release, json!({"do": "call", "url": server.url()})).await;
    assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
    assert!(!format!("{outcome:?}").contains("time limit"), "{outcome:?}");
}

#[tokio::test]
async fn a_guest_that_never_ends_its_body_ends_with_its_time() {
    let server = Server::start(Answer::ok()).await;
    let release = granted(&server, ", request_timeout = \"300ms\"").await;
    let url = format!("http://{}/", server.address);
    let outcome = ends(&release, json!({"do": "call_without_end", "url": url})).await;
    assert_retry(&outcome, "ConnectionReadTimeout");
}

#[tokio::test]
async fn two_answers_to_one_request_are_not_the_next_ones() {
    let twice = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 500 Smuggled\r\n\
                 content-length: 4\r\n\r\nevil";
    let server = Server::start(Answer::Raw(twice.into())).await;
    let release = granted(&server, "").await;
    for _ in 0..3 {
        let seen = detail(ends(&release, json!({"do": "call", "url": server.url()})).await);
        assert_eq!(seen, json!({"status": 200, "bytes": 2}));
    }
}
