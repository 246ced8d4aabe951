//! Secrets: where they go, and where they are never seen.

use std::sync::Arc;

use serde_json::{Value, json};

use super::components::{
    assert_reject, assert_retry, assert_unknown, attempt, detail, hostile, hostile_behind,
};
use super::fakes::{Fakes, services};
use super::server::{Answer, Server, header};
use crate::domain::Outcome;
use crate::plugin::Outbound;

const SECRET: &str = "s3cret/\"value\" of the partner";

async fn behind(server: &Server, grants: &str) -> crate::plugin::Release {
    let outbound = Arc::new(Outbound::new().unwrap());
    hostile_behind(&outbound, &format!("[grants]\n{}{grants}", server.grant())).await
}

fn call(server: &Server, more: Value) -> Value {
    let mut payload = json!({"do": "call_template", "text": "KEY", "url": server.url()});
    if let (Some(fields), Value::Object(more)) = (payload.as_object_mut(), more) {
        fields.extend(more);
    }
    payload
}

#[tokio::test]
async fn a_secret_is_filled_into_headers_queries_and_texts() {
    let server = Server::start(Answer::ok()).await;
    let release = behind(&server, "").await;
    let fakes = Fakes::with_secret("KEY", SECRET);
    let url = format!("{}?key={{secret}}&x=1", server.url());
    let header_and_query = call(
        &server,
        json!({"url": url, "headers": {"X-Key": "<{secret}>", "Accept-Encoding": "gzip"}}),
    );
    detail(attempt(&release, &fakes.services(), header_and_query).await);
    let basic = call(&server, json!({"headers": {"Authorization": "{basic}"}}));
    detail(attempt(&release, &fakes.services(), basic).await);
    for (content_type, body, _) in BODIES {
        let body = call(&server, json!({"content_type": content_type, "body": body}));
        detail(attempt(&release, &fakes.services(), body).await);
    }
    let requests = server.requests();
    assert!(
        requests[0].starts_with(
            "PUT /path?key=s3cret%2F%22value%22%20of%20the%20partner&x=1 HTTP/1.1\r\n"
        ),
        "{}",
        requests[0]
    );
    assert_eq!(header(&requests[0], "x-key"), [format!("<{SECRET}>")]);
    assert!(header(&requests[0], "accept-encoding").is_empty(), "the answer must be readable");
    use base64::Engine;
    let expected = base64::engine::general_purpose::STANDARD.encode(format!("user:{SECRET}"));
    assert_eq!(header(&requests[1], "authorization"), [format!("Basic {expected}")]);
    for (request, (content_type, _, filled)) in requests[2..].iter().zip(BODIES) {
        assert!(request.contains(filled), "{content_type}: {request}");
    }
}

const BODIES: [(&str, &str, &str); 5] = [
    (
        "application/json",
        "{\"key\": \"{secret}\"}",
        "{\"key\": \"s3cret/\\\"value\\\" of the partner\"}",
    ),
    (
        "application/x-www-form-urlencoded",
        "key={secret}",
        "key=s3cret%2F%22value%22%20of%20the%20partner",
    ),
    ("text/plain", "{secret}{secret}", "s3cret/\"value\" of the partners3cret/"),
    ("application/xml", "<k>{secret}</k>", "<k>s3cret/&quot;value&quot; of the partner</k>"),
    ("application/octet-stream", "{secret}", "tidegate-secret-"),
];

#[tokio::test]
async fn a_body_whose_length_is_told_is_told_its_new_length() {
    let server = Server::start(Answer::ok()).await;
    let release = behind(&server, "").await;
    let fakes = Fakes::with_secret("KEY", "a short value");
    let payload = call(&server, json!({"content_type": "text/plain", "body": "{secret}."}));
    detail(attempt(&release, &fakes.services(), payload).await);
    // The SDK tells the length of what the guest wrote, 49 bytes.
    let requests = server.requests();
    assert_eq!(header(&requests[0], "content-length"), ["14"]);
    assert!(requests[0].ends_with("\r\n\r\na short value."), "{}", requests[0]);
}

#[tokio::test]
async fn a_body_that_comes_in_pieces_is_filled_on_its_way() {
    let (server, other) = (Server::start(Answer::ok()).await, Server::start(Answer::ok()).await);
    let grants = format!(
        "[grants]\nhttp = [{{ origin = \"http://{0}\", private = true }}, {{ origin = \"http://{1}\", \
         private = true }}]\nsecrets = [{{ name = \"KEY\", hosts = [\"http://{0}\"] }}]",
        server.address, other.address
    );
    let release = hostile_behind(&Arc::new(Outbound::new().unwrap()), &grants).await;
    let fakes = Fakes::with_secret("KEY", "a short value");
    let raw = |to: &Server| {
        json!({"do": "call_raw", "url": to.url(), "text": "KEY", "body": "<{secret}>",
            "headers": {"Content-Type": "text/plain"}})
    };
    detail(attempt(&release, &fakes.services(), raw(&server)).await);
    let requests = server.requests();
    assert_eq!(header(&requests[0], "transfer-encoding"), ["chunked"]);
    let body = requests[0].split("\r\n\r\n").nth(1).unwrap();
    let chunks: String = body.split("\r\n").skip(1).step_by(2).collect();
    assert_eq!(chunks, "<a short value>", "{body}");
    // Some of it may have left by the time that it is refused.
    let outcome = attempt(&release, &fakes.services(), raw(&other)).await;
    assert_retry(&outcome, "ConnectionTerminated");
    assert_retry(&outcome, "may not go to");
    assert!(other.requests().iter().all(|request| !request.contains("a short value")));
}

#[tokio::test]
async fn a_secret_goes_only_to_the_hosts_that_it_is_tied_to() {
    let (server, other) = (Server::start(Answer::ok()).await, Server::start(Answer::ok()).await);
    let grants = format!(
        "[grants]\nhttp = [{{ origin = \"http://{0}\", private = true }}, {{ origin = \"http://{1}\", \
         private = true }}]\nsecrets = [{{ name = \"KEY\", hosts = [\"http://{0}\"] }}]",
        server.address, other.address
    );
    let release = hostile_behind(&Arc::new(Outbound::new().unwrap()), &grants).await;
    let fakes = Fakes::with_secret("KEY", SECRET);
    let header = json!({"headers": {"X-Key": "{secret}"}});
    detail(attempt(&release, &fakes.services(), call(&server, header.clone())).await);
    let line = format!(
        "the secret \"KEY\" may not go to http://{0}: to allow it, add \"http://{0}\" to its hosts in \
         grants.secrets of hostile",
        other.address
    );
    assert_retry(&attempt(&release, &fakes.services(), call(&other, header)).await, &line);
    let query = json!({"url": format!("{}?k={{secret}}", other.url())});
    assert_retry(&attempt(&release, &fakes.services(), call(&other, query)).await, &line);
    assert_eq!(other.connections(), 0);
    let body = json!({"content_type": "text/plain", "body": "{secret}"});
    assert_retry(&attempt(&release, &fakes.services(), call(&other, body)).await, &line);
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn a_placeholder_in_a_path_or_of_another_start_is_refused() {
    let server = Server::start(Answer::ok()).await;
    let release = behind(&server, "").await;
    let fakes = Fakes::with_secret("KEY", SECRET);
    let path = json!({"url": format!("{}/{{secret}}", server.url())});
    let outcome = attempt(&release, &fakes.services(), call(&server, path)).await;
    assert_retry(&outcome, "and not in a path");
    let old = format!("tidegate-secret-{}", "0".repeat(32));
    let stale = json!({"do": "call", "headers": {"X-Key": old}});
    let outcome = attempt(&release, &fakes.services(), call(&server, stale)).await;
    assert_retry(&outcome, "a placeholder of an earlier start of the host");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_target_that_echoes_hands_no_secret_to_the_guest() {
    let server = Server::start(Answer::Echo).await;
    let release = behind(&server, "").await;
    let fakes = Fakes::with_secret("KEY", SECRET);
    for request in [
        json!({"headers": {"X-Key": "{secret}"}}),
        json!({"headers": {"Authorization": "{basic}"}}),
        json!({"url": format!("{}?k={{secret}}", server.url())}),
        json!({"content_type": "application/json", "body": "{\"k\": \"{secret}\"}"}),
    ] {
        let seen = detail(attempt(&release, &fakes.services(), call(&server, request)).await);
        let text = seen["text"].as_str().unwrap();
        // The guest saw stars; of what it had seen, only its texts would be redacted.
        assert!(text.contains("****") && !text.contains("[secret"), "{text}");
        for part in ["s3cret", "value", "czNjcmV0"] {
            assert!(!text.contains(part), "{part} is in {text}");
        }
    }
    let asked: String = server.requests().concat();
    assert!(asked.contains("s3cret"), "the target itself has it");
}

#[tokio::test]
async fn an_exposed_secret_is_in_nothing_that_people_read() {
    let grants = "[grants]\nsecrets = [{ name = \"KEY\", expose = true }]\n\
                  follow_ups = [\"TOLD\"]\ntransitions = [\"failed\"]";
    let release = hostile_behind(&Arc::new(Outbound::new().unwrap()), grants).await;
    let fakes = Fakes::with_secret("KEY", SECRET);
    for form in ["plain", "base64", "hex", "percent", "json", "debug", "escapes"] {
        let tell =
            |how: &str| json!({"do": "tell_secret", "text": "KEY", "how": how, "method": form});
        let seen = detail(attempt(&release, &fakes.services(), tell("detail")).await);
        assert_eq!(seen, json!("it is [secret KEY]"), "{form}");
        let rejected = attempt(&release, &fakes.services(), tell("reject")).await;
        assert_reject(&rejected, "it is [secret KEY]");
        let panicked = attempt(&release, &fakes.services(), tell("panic")).await;
        let Outcome::Retry { reason, .. } = &panicked else { panic!("{panicked:?}") };
        assert!(reason.contains("[secret KEY]") && !reason.contains("s3cret"), "{reason}");
        let told = attempt(&release, &fakes.services(), tell("follow_up")).await;
        assert_unknown(&told, "a follow-up's payload holds a secret of the host");
    }
}

#[tokio::test]
async fn without_a_secret_nothing_changes() {
    let server = Server::start(Answer::text("tidegate-secret-")).await;
    let release = behind(&server, "").await;
    let payload = json!({"do": "call", "url": server.url(), "bytes": 10});
    let outcome = attempt(&release, &services(), payload).await;
    // A text body is sent, and none of the plugin's secrets can be read: it holds none of them.
    assert_eq!(detail(outcome), json!({"status": 200, "bytes": 16}));
    let release = hostile("").await;
    assert_eq!(detail(attempt(&release, &services(), json!({"do": "ok"})).await), Value::Null);
}

#[tokio::test]
async fn the_host_signs_with_a_secret_that_it_keeps() {
    let release = hostile_behind(&Arc::new(Outbound::new().unwrap()), "").await;
    // RFC 4231, the second case.
    let fakes = Fakes::with_secret("KEY", "Jefe");
    let hmac =
        |name: &str| json!({"do": "hmac", "text": name, "body": "what do ya want for nothing?"});
    assert_eq!(
        detail(attempt(&release, &fakes.services(), hmac("KEY")).await),
        json!("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
    );
    assert_reject(
        &attempt(&release, &fakes.services(), hmac("OTHER")).await,
        "the secret \"OTHER\" is not granted: to allow it, put it into grants.secrets of hostile",
    );
    let large = json!({"do": "hmac", "text": "KEY", "bytes": (1 << 20) + 1});
    let outcome = attempt(&release, &fakes.services(), large).await;
    assert_reject(&outcome, "a message of 1048577 bytes; limits.request_body allows 1048576");
}
