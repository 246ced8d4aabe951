//! A plugin that is bad in every way, beside good ones.

use std::path::Path;
use std::time::Duration;

use sqlx::Connection;
use tidegate_tests::api::Api;
use tidegate_tests::bench::Bench;
use tidegate_tests::eventually::eventually;
use tidegate_tests::machine;
use tidegate_tests::manifest::Manifest;
use tidegate_tests::oracle::{assert_paid_once, assert_partner_knows};
use tidegate_tests::order::Order;

const ATTEMPTS: i64 = 2;
const CONFIRMED_WITHIN: Duration = Duration::from_secs(60);
const ENDED_WITHIN: Duration = Duration::from_secs(60);
const PAYMENTS: u32 = 10;
const LOG_LINES: usize = 20;

/// What the plugin does, and what the reason must say.
const DEEDS: [(&str, &[&str]); 10] = [
    ("trap", &["the handler trapped", "unreachable"]),
    ("loop", &["time limit 1000ms reached"]),
    ("sleep", &["time limit 1000ms reached"]),
    ("allocate", &["memory limit", "32MiB"]),
    ("recurse", &["the handler trapped"]),
    ("garbage_json", &["the receipt's detail is not JSON"]),
    ("forbidden_call", &["http://198.51.100.7", "grants.http"]),
    ("forbidden_follow_up", &["NOT_GRANTED", "grants.follow_ups"]),
    ("forbidden_transition", &["grants.transitions"]),
    ("forbidden_secret", &["NOT_GRANTED", "grants.secrets"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_bad_in_every_way_fails_with_the_reason_and_hurts_nobody_else() {
    let _shared = machine::shared().await;
    let bench = Bench::start().await;
    bench.add_plugins(|partner| partner).await;
    let hostile = Manifest::shipped("hostile")
        .with("limits", "log_lines", i64::try_from(LOG_LINES).unwrap())
        .with("retry", "max_attempts", ATTEMPTS)
        .with("retry", "base", "100ms")
        .with("retry", "cap", "100ms");
    bench.installation.add(&hostile).await;
    let (mut host, api) = bench.installation.serve().await;

    let mut bad = Vec::new();
    for (deed, _) in DEEDS.iter().chain(&[("ok", &[] as &[&str]), ("log_flood", &[])]) {
        bad.push(insert_event(&bench.installation.database(), deed).await);
    }
    let orders: Vec<Order> = (0..PAYMENTS).map(Order::number).collect();
    let mut ids = Vec::new();
    for order in &orders {
        ids.push(api.submit(order).await);
    }
    for id in &ids {
        api.reaches(id, "CONFIRMED", CONFIRMED_WITHIN).await;
    }

    for ((deed, said), event) in DEEDS.iter().zip(&bad) {
        assert_failed_with(&api, deed, event, said).await;
    }
    let [good, flood] = &bad[DEEDS.len()..] else { panic!("two events more") };
    api.event_reaches(good, "DONE", ENDED_WITHIN).await;
    let attempts = attempts_of_flood(&api, flood).await;
    let lines = host.log().lines().filter(|line| line.contains("and a bell")).count();
    assert!(
        lines <= LOG_LINES * attempts,
        "{lines} lines in the host's log, of {attempts} attempts"
    );
    assert!(host.is_running(), "the host is alive");
    assert_paid_once(&api, &orders, &ids, &bench.node.transfers().await).await;
    for id in &ids {
        for event in api.events_of(id, "PARTNER_SYNC_REQUESTED").await {
            api.event_reaches(event["id"].as_str().unwrap(), "DONE", ENDED_WITHIN).await;
        }
    }
    assert_partner_knows(&ids, &bench.partner.records().await);
}

/// A million lines may take longer than the time limit, or not; either way few are kept.
async fn attempts_of_flood(api: &Api, event: &str) -> usize {
    eventually("the flood ends", ENDED_WITHIN, async || {
        let history = api.get(&format!("/v1/events/{event}")).await;
        let failed = history["attempts"].as_array().unwrap().len();
        match history["event"]["status"].as_str() {
            Some("DONE") => Ok(failed + 1),
            Some("FAILED") => Ok(failed),
            _ => Err(history.to_string()),
        }
    })
    .await
}

async fn assert_failed_with(api: &Api, deed: &str, event: &str, said: &[&str]) {
    let history = api.event_reaches(event, "FAILED", ENDED_WITHIN).await;
    let reason = history["event"]["last_error"].as_str().unwrap();
    for part in said {
        assert!(reason.contains(part), "{deed}: {part:?} is not in {reason:?}");
    }
    let attempts = history["attempts"].as_array().unwrap();
    assert!(!attempts.is_empty(), "{deed}: {history:#}");
    for attempt in attempts {
        assert_eq!(attempt["plugin"], "hostile", "{deed}: {attempt}");
    }
}

/// Writes an event as a service does that shares the database: the outbox's public contract.
async fn insert_event(database: &Path, deed: &str) -> String {
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(database)
        .busy_timeout(Duration::from_secs(10));
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let insert = "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) \
                  VALUES ('TEST', ?, 'HOSTILE', ?) RETURNING id";
    let id: String = sqlx::query_scalar(insert)
        .bind(deed)
        .bind(format!(r#"{{"do": "{deed}"}}"#))
        .fetch_one(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    id
}
