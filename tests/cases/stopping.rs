//! Stopping a host while it works.

use std::time::Duration;

use serde_json::json;
use sqlx::Connection;
use tidegate_tests::bench::Bench;
use tidegate_tests::eventually::eventually;
use tidegate_tests::machine;
use tidegate_tests::oracle::{assert_holds, assert_paid_once, assert_partner_knows};
use tidegate_tests::order::Order;
use tidegate_tests::process::Signal;

const WITHDRAWALS: u32 = 20;
const BUSY_WITHIN: Duration = Duration::from_secs(20);
const DONE_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_ends_with_zero_leaves_no_lease_behind_and_loses_nothing() {
    let _shared = machine::shared().await;
    let bench = Bench::start().await;
    bench.add_plugins(|partner| partner).await;
    let (mut host, api) = bench.installation.serve().await;

    // Longer than the grace time of the stop: what is in hand cannot end by itself.
    bench.partner.misbehave(&json!({ "mode": "slow_ms", "ms": 60_000 })).await;
    let orders: Vec<Order> = (0..WITHDRAWALS).map(Order::number).collect();
    let mut ids = Vec::new();
    for order in &orders {
        ids.push(api.submit(order).await);
    }
    eventually("the host has events in hand", BUSY_WITHIN, async || {
        let busy = api.get("/v1/events?status=PROCESSING&event_type=PARTNER_SYNC_REQUESTED").await;
        if busy["items"] == json!([]) { Err("none".into()) } else { Ok(()) }
    })
    .await;
    assert_eq!(host.stop(Signal::Term).await, 0);
    assert_eq!(leases(&bench).await, 0, "every lease was given back");

    bench.partner.behave().await;
    host.start_again().await;
    let api = bench.installation.api(&host);
    api.all_done(orders.len(), DONE_WITHIN).await;
    assert_paid_once(&api, &orders, &ids, &bench.node.transfers().await).await;
    assert_partner_knows(&ids, &bench.partner.records().await);
    for event in api.all("/v1/events?event_type=PARTNER_SYNC_REQUESTED").await {
        assert_eq!(event["attempt_count"], 1, "a stop is not the event's failure: {event}");
    }
    let config = bench.installation.path().join("tidegate.toml").display().to_string();
    assert_holds(&["--config", &config]);
}

/// It holds keys, so nothing of its memory is left behind, however it ends.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_ends_badly_leaves_no_core_behind() {
    let _shared = machine::shared().await;
    let bench = Bench::start().await;
    let (mut host, _api) = bench.installation.serve().await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", host.process_id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let numbers = core.split_whitespace().filter(|word| *word == "0").count();
    assert_eq!(numbers, 2, "neither now nor by raising it: {core}");
    host.kill().await;
}

/// What another program sees in the file after the end.
async fn leases(bench: &Bench) -> i64 {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(bench.installation.database());
    let mut file = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let count = "SELECT count(*) FROM outbox_events WHERE status = 'PROCESSING'";
    let leases = sqlx::query_scalar(count).fetch_one(&mut file).await.unwrap();
    file.close().await.unwrap();
    leases
}
