//! What an attempt asks of its targets, where a gate stands before them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::components::{ENGINE, assert_retry, event, hostile};
use super::fakes::{Fakes, services};
use super::server::{Answer, Server};
use crate::domain::Outcome;
use crate::plugin::{Release, ShutTarget, TargetGate, TargetPass, TargetReports, TargetsSeen};

const WAIT: Duration = Duration::from_secs(7);

/// Shut for one target, and counts what passed.
struct Shut {
    target: String,
    passed: Mutex<Vec<String>>,
}

#[async_trait]
impl TargetGate for Shut {
    async fn enter(&self, target: &str) -> Result<TargetPass, Duration> {
        if target == self.target {
            return Err(WAIT);
        }
        self.passed.lock().unwrap().push(target.to_owned());
        Ok(Box::new(()))
    }
}

async fn attempt(
    release: &Release,
    shut: &str,
    payload: Value,
) -> (Outcome, TargetsSeen, Vec<String>) {
    let gate = Arc::new(Shut { target: shut.to_owned(), passed: Mutex::default() });
    let reports = TargetReports::behind(Some(Arc::clone(&gate) as _));
    let services = services();
    let outcome =
        release.attempt_reporting(&ENGINE, &event(&payload), &services, (&reports, None)).await;
    let passed = gate.passed.lock().unwrap().clone();
    (outcome, reports.take(), passed)
}

fn shut(target: &str) -> Option<ShutTarget> {
    Some(ShutTarget { target: target.to_owned(), wait: WAIT })
}

#[tokio::test]
async fn a_target_whose_breaker_is_open_is_not_asked_and_the_guest_is_told() {
    let server = Server::start(Answer::ok()).await;
    let target = server.address.to_string();
    let release = hostile(&format!("[grants]\n{}", server.grant())).await;
    let call = || json!({"do": "call", "url": server.url(), "count": 2});

    let (outcome, seen, _) = attempt(&release, &target, call()).await;
    assert_retry(&outcome, &format!("the breaker of {target} is open: nothing was sent"));
    assert_eq!(seen, TargetsSeen { answered: [].into(), shut: shut(&target) });
    assert_eq!(server.requests(), [""; 0]);

    // Another one's breaker does not concern it, and it is asked for once an attempt.
    let (outcome, seen, passed) = attempt(&release, "elsewhere:443", call()).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    assert_eq!(seen, TargetsSeen { answered: [(target.clone(), true)].into(), shut: None });
    assert_eq!((passed, server.requests().len()), (vec![target], 2));
}

#[tokio::test]
async fn a_broker_whose_breaker_is_open_is_not_asked() {
    let fakes = Fakes::new();
    let gate = Shut { target: "messaging".into(), passed: Mutex::default() };
    let reports = TargetReports::behind(Some(Arc::new(gate)));
    let payload = event(&json!({"do": "publish", "text": "granted"}));
    let release = hostile("").await;
    let outcome =
        release.attempt_reporting(&ENGINE, &payload, &fakes.services(), (&reports, None)).await;
    assert_retry(&outcome, "the breaker of messaging is open");
    assert_eq!(reports.take().shut, shut("messaging"));
    assert!(fakes.published.lock().unwrap().is_empty());
}
