//! The record of every outbound request.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::components::{ENGINE, attempt, detail, event, hostile_behind};
use super::fakes::{Fakes, services};
use super::server::{Answer, Server};
use crate::plugin::{AuditFile, AuditLog, Outbound};

fn audited(file: &Path) -> Arc<Outbound> {
    let log = AuditFile::open(file.to_owned(), 1 << 20, 2).unwrap();
    Arc::new(Outbound::new().unwrap().with_audit(AuditLog::File(log)))
}

/// So many records, once they are written.
async fn records(file: &Path, count: usize) -> Vec<Value> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        if lines.len() >= count || tokio::time::Instant::now() > deadline {
            assert_eq!(lines.len(), count, "{text}");
            return lines;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn every_request_is_recorded_with_what_it_came_to_and_nothing_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let outbound = audited(&file);
    let server = Server::start(Answer::text("answer")).await;
    let gone = Server::start(Answer::Close).await;
    let grants = format!(
        "[grants]\nhttp = [{{ origin = \"http://{}\", private = true }}, {{ origin = \"http://{}\", \
         private = true }}]",
        server.address, gone.address
    );
    let release = hostile_behind(&outbound, &grants).await;
    let fakes = Fakes::with_secret("KEY", "s3cret-value");
    let url = format!("{}/private-path?token=query-value&k={{secret}}", server.url());
    let asked = event(&json!({"do": "call_template", "text": "KEY", "url": url,
        "headers": {"X-Key": "{secret}"}, "content_type": "text/plain", "body": "the body"}));
    detail(release.attempt(&ENGINE, &asked, &fakes.services()).await);
    attempt(&release, &services(), json!({"do": "call", "url": "http://198.51.100.7/"})).await;
    attempt(&release, &services(), json!({"do": "call", "url": gone.url()})).await;

    let records = records(&file, 3).await;
    let first = &records[0];
    for (key, value) in [
        ("plugin", json!("hostile")),
        ("release", json!(release.digest())),
        ("event", json!(asked.id.to_string())),
        ("method", json!("PUT")),
        ("scheme", json!("http")),
        ("host", json!("127.0.0.1")),
        ("port", json!(server.port())),
        ("status", json!(200)),
        ("bytes_out", json!(8)),
        ("bytes_in", json!(6)),
    ] {
        assert_eq!(first[key], value, "{key}: {first}");
    }
    assert!(first["ms"].as_f64().is_some_and(|ms| ms > 0.0) && first.get("error").is_none());
    assert!(first["at"].as_str().is_some_and(|at| at.ends_with('Z')));
    assert_eq!(
        (&records[1]["host"], &records[1]["error"]),
        (&json!("198.51.100.7"), &json!("denied"))
    );
    assert_eq!((&records[2]["status"], &records[2]["error"]), (&json!(null), &json!("terminated")));
    let all = std::fs::read_to_string(&file).unwrap();
    for never in ["s3cret", "tidegate-secret", "private-path", "query-value", "the body", "answer"]
    {
        assert!(!all.contains(never), "{never} is in {all}");
    }

    let metrics = outbound.metrics();
    let origin = format!("http://{}", server.address);
    for line in [
        format!(
            "tidegate_outbound_requests_total{{plugin=\"hostile\",origin=\"{origin}\",outcome=\"2xx\"}} 1"
        ),
        "tidegate_outbound_requests_total{plugin=\"hostile\",origin=\"none\",outcome=\"denied\"} 1"
            .into(),
        format!(
            "tidegate_outbound_received_bytes_total{{plugin=\"hostile\",origin=\"{origin}\"}} 6"
        ),
        "tidegate_audit_lost_total 0".into(),
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line}\nis not in\n{metrics}");
    }
}

#[tokio::test]
async fn a_call_that_ends_in_the_middle_of_a_request_is_recorded_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let server = Server::start(Answer::Silence).await;
    let extra = format!("[limits]\ntimeout = \"200ms\"\n[grants]\n{}", server.grant());
    let release = hostile_behind(&audited(&file), &extra).await;
    attempt(&release, &services(), json!({"do": "call", "url": server.url()})).await;
    let records = records(&file, 1).await;
    let error = records[0]["error"].as_str().unwrap();
    assert!(["aborted", "timeout"].contains(&error), "{error}");
}
