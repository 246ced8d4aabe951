//! What is known after a call that went wrong: nothing may be sent twice that was not looked for.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::components::{
    ENGINE, assert_reject, assert_retry, assert_unknown, attempt, components, detail, event,
    hostile, release,
};
use super::fakes::{Fakes, services};
use super::server::{Answer, Server, header};
use crate::domain::Outcome;
use crate::plugin::{PublishError, Release};

const QUICK: &str = "[limits]\ntimeout = \"300ms\"\n";

async fn granted(server: &Server, limits: &str) -> Release {
    hostile(&format!("{limits}[grants]\n{}", server.grant())).await
}

/// An attempt after one whose outcome nobody knows.
async fn attempt_after_unknown(release: &Release, payload: Value) -> Outcome {
    let mut event = event(&payload);
    event.outcome_unknown = true;
    event.attempt_count = 2;
    release.attempt(&ENGINE, &event, &services()).await
}

#[tokio::test]
async fn a_trap_after_a_request_leaves_the_outcome_unknown() {
    let server = Server::start(Answer::ok()).await;
    let payload = json!({"do": "call", "url": server.url(), "then": "trap"});
    let outcome = attempt(&granted(&server, "").await, &services(), payload).await;
    assert_unknown(&outcome, "the handler trapped");
}

#[tokio::test]
async fn a_trap_after_a_message_leaves_the_outcome_unknown() {
    let payload = json!({"do": "publish", "text": "granted", "then": "trap"});
    assert_unknown(&attempt(&hostile("").await, &services(), payload).await, "trapped");
}

#[tokio::test]
async fn a_time_out_after_a_request_leaves_the_outcome_unknown() {
    let server = Server::start(Answer::ok()).await;
    let payload = json!({"do": "call", "url": server.url(), "then": "loop"});
    let outcome = attempt(&granted(&server, QUICK).await, &services(), payload).await;
    assert_unknown(&outcome, "time limit 300ms reached");
}

#[tokio::test]
async fn a_trap_where_nothing_was_sent_is_a_retry() {
    for first in ["ok", "save", "log", "settings", "sign"] {
        let count = if first == "sign" { 31337 } else { 1 };
        let payload = json!({"do": first, "then": "trap", "count": count, "bytes": 5});
        assert_retry(&attempt(&hostile("").await, &services(), payload).await, "trapped");
    }
}

#[tokio::test]
async fn a_target_that_hangs_leaves_the_outcome_unknown() {
    let server = Server::start(Answer::Silence).await;
    let release = granted(&server, QUICK).await;
    let payload = json!({"do": "call", "url": server.url()});
    assert_unknown(&attempt(&release, &services(), payload).await, "");
    let payload = json!({"do": "call", "url": server.url(), "ms": 100});
    assert_unknown(&attempt(&release, &services(), payload).await, "no answer in time");
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_the_outcome_unknown() {
    let server = Server::start(Answer::Close).await;
    let payload = json!({"do": "call", "url": server.url()});
    let outcome = attempt(&granted(&server, "").await, &services(), payload).await;
    assert_unknown(&outcome, "the connection was reset");
}

#[tokio::test]
async fn an_answer_that_breaks_off_leaves_the_outcome_unknown() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\nhal";
    let server = Server::start(Answer::Raw(answer.into())).await;
    let payload = json!({"do": "call", "url": server.url(), "ms": 200});
    let outcome = attempt(&granted(&server, "").await, &services(), payload).await;
    assert_unknown(&outcome, "");
}

/// An address of this machine where nobody listens.
async fn deserted() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn a_refused_connection_was_not_sent() {
    let origin = deserted().await;
    let grants = format!("[grants]\nhttp = [{{ origin = \"{origin}\", private = true }}]");
    let release = hostile(&grants).await;
    let payload = json!({"do": "call", "url": origin});
    let outcome = attempt(&release, &services(), payload).await;
    assert_retry(&outcome, "nothing was sent");
    assert_retry(&outcome, "refused");
}

#[tokio::test]
async fn a_trap_after_what_did_not_leave_the_host_is_a_retry() {
    let origin = deserted().await;
    let grants = format!("[grants]\nhttp = [{{ origin = \"{origin}\", private = true }}]");
    let release = hostile(&grants).await;
    let fakes = Fakes::new();
    *fakes.publish_error.lock().unwrap() = Some(PublishError::Refused("too large".into()));
    for first in [
        json!({"do": "call", "url": origin}),
        json!({"do": "forbidden_call"}),
        json!({"do": "publish", "text": "granted"}),
        json!({"do": "publish", "text": "denied"}),
    ] {
        let mut payload = first;
        payload["then"] = "trap".into();
        payload["regardless"] = true.into();
        assert_retry(&attempt(&release, &fakes.services(), payload).await, "trapped");
    }
}

#[tokio::test]
async fn a_trap_after_a_message_that_nobody_confirmed_leaves_the_outcome_unknown() {
    let fakes = Fakes::new();
    *fakes.publish_error.lock().unwrap() = Some(PublishError::Unavailable("no ack".into()));
    let payload = json!({"do": "publish", "text": "granted", "then": "trap", "regardless": true});
    assert_unknown(&attempt(&hostile("").await, &fakes.services(), payload).await, "trapped");
}

#[tokio::test]
async fn the_reconciler_is_asked_instead_of_the_handler() {
    let release = hostile("").await;
    assert!(release.reconciles());
    let payload = json!({"do": "trap", "reconcile": "detail", "text": "\"found\""});
    assert_eq!(detail(attempt_after_unknown(&release, payload).await), json!("found"));
}

#[tokio::test]
async fn what_did_not_happen_is_handled_in_the_same_attempt() {
    let payload = json!({"do": "detail", "text": "\"handled\""});
    let outcome = attempt_after_unknown(&hostile("").await, payload).await;
    assert_eq!(detail(outcome), json!("handled"));
}

#[tokio::test]
async fn without_a_reconciler_the_handler_is_asked() {
    let release = release(&components().await.noop, "");
    let outcome = attempt_after_unknown(&release, json!({})).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
}

#[tokio::test]
async fn whatever_the_reconciler_says_but_an_answer_the_outcome_stays_unknown() {
    let release = hostile(QUICK).await;
    let asked = async |deed: &str| {
        attempt_after_unknown(&release, json!({"do": "ok", "reconcile": deed, "ms": 5})).await
    };
    assert_unknown(&asked("retry").await, "again, please");
    assert_unknown(&asked("unknown").await, "nobody knows");
    assert_unknown(&asked("trap").await, "trapped");
    assert_unknown(&asked("loop").await, "time limit 300ms reached");
    assert_unknown(&asked("garbage_json").await, "not JSON");
    let deferred = asked("defer").await;
    assert!(
        matches!(&deferred, Outcome::Interrupted { after, outcome_unknown: true, .. }
            if *after == Duration::from_millis(5)),
        "{deferred:?}"
    );
    assert_reject(&asked("reject").await, "never");
}

#[tokio::test]
async fn a_reconcilers_request_has_a_key_of_its_own_in_each_attempt() {
    let server = Server::start(Answer::ok()).await;
    let release = granted(&server, "").await;
    let mut event = event(&json!({"do": "call", "reconcile": "call", "url": server.url()}));
    event.outcome_unknown = true;
    for attempt_count in [1, 2] {
        event.attempt_count = attempt_count;
        detail(release.attempt(&ENGINE, &event, &services()).await);
    }
    event.outcome_unknown = false;
    detail(release.attempt(&ENGINE, &event, &services()).await);
    let key = event.idempotency_key;
    let seen: Vec<_> = server
        .requests()
        .iter()
        .flat_map(|request| header(request, "idempotency-key").into_iter().map(str::to_owned))
        .collect();
    let expected =
        [format!("{key}-reconcile-2-1"), format!("{key}-reconcile-3-1"), format!("{key}-1")];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_call_that_is_dropped_closes_its_connection() {
    let server = Server::start(Answer::Silence).await;
    let release = granted(&server, "").await;
    let (services, payload) = (services(), json!({"do": "call", "url": server.url()}));
    let call = attempt(&release, &services, payload);
    let dropped = tokio::time::timeout(Duration::from_millis(300), call).await;
    assert!(dropped.is_err(), "{dropped:?}");
    tokio::time::timeout(Duration::from_secs(10), server.connection_closed()).await.unwrap();
}
