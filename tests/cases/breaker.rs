//! A partner that is away for longer than its events are tried, with a breaker before it.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tidegate_tests::api::{Api, send};
use tidegate_tests::bench::Bench;
use tidegate_tests::command_line::ask;
use tidegate_tests::eventually::eventually;
use tidegate_tests::machine;
use tidegate_tests::oracle::assert_partner_knows;
use tidegate_tests::order::Order;

/// So few that without a breaker they would be used up in two seconds.
const ATTEMPTS: i64 = 4;
const FAILURES: i64 = 3;
const ORDERS: u32 = 10;
const WITHIN: Duration = Duration::from_secs(60);

async fn breaker(api: &Api) -> Result<Value, String> {
    let breakers = api.get("/v1/breakers").await;
    let first = breakers["items"][0].clone();
    if first.is_null() { Err("no breaker was ever open".into()) } else { Ok(first) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_wait_for_a_partner_that_is_away_and_lose_no_attempt() {
    let _shared = machine::shared().await;
    let bench = Bench::start().await;
    bench
        .add_plugins(|partner| {
            partner
                .with("retry", "max_attempts", ATTEMPTS)
                .with("breaker", "failures", FAILURES)
                .with("breaker", "open_for", "300ms")
                .with("breaker", "open_for_max", "1s")
                .with("breaker", "ramp", "1s")
        })
        .await;
    let (_host, api) = bench.installation.serve().await;

    bench.partner.misbehave(&json!({ "mode": "down", "method": "PUT" })).await;
    let orders: Vec<Order> = (0..ORDERS).map(Order::number).collect();
    let mut ids = Vec::new();
    for order in &orders {
        ids.push(api.submit(order).await);
    }
    let open = eventually("it opened again and again", WITHIN, async || {
        let breaker = breaker(&api).await?;
        if breaker["trips"].as_i64() >= Some(4) { Ok(breaker) } else { Err(breaker.to_string()) }
    })
    .await;
    assert_eq!(open["plugin"], "partner-sync");
    assert!(open["reason"].as_str().unwrap().contains("503"), "{open}");
    let listed = ask(&api, &["breakers", "list"]);
    assert!(listed.out.contains("partner-sync") && listed.out.contains("503"), "{listed:?}");
    let status = ask(&api, &["status"]);
    assert!(status.out.contains("the breaker of partner-sync and"), "{status:?}");
    let metrics = send(api.request(Method::GET, "/metrics")).await.unwrap().text;
    let state = metrics.lines().find(|line| line.starts_with("tidegate_breaker_state{plugin="));
    assert!(state.is_some_and(|line| line.ends_with(" 1")), "{metrics}");
    for event in api.all("/v1/events?event_type=PARTNER_SYNC_REQUESTED").await {
        assert_ne!(event["status"], "FAILED", "{event}");
        assert!(event["attempt_count"].as_i64() < Some(ATTEMPTS), "{event}");
    }

    bench.partner.behave().await;
    api.all_done(orders.len(), WITHIN).await;
    assert_partner_knows(&ids, &bench.partner.records().await);
    assert_eq!(breaker(&api).await.unwrap()["state"], "closed");
    held_by_hand(&api, open["target"].as_str().unwrap()).await;
}

/// What an operator opens stays open, and closed it goes on at once.
async fn held_by_hand(api: &Api, target: &str) {
    let open = ["breakers", "open", "partner-sync", target, "--reason", "they asked for quiet"];
    let opened = ask(api, &open);
    assert_eq!((opened.code, opened.err.as_str()), (0, ""), "{opened:?}");
    assert!(opened.out.contains("is held open"), "{opened:?}");
    // The host sees it when it looks, and until then may carry what comes. By the time that a
    // withdrawal is confirmed, its first event would be done.
    let deadline = Instant::now() + WITHIN;
    let mut orders = ORDERS;
    loop {
        orders += 1;
        let id = api.submit(&Order::number(orders)).await;
        api.reaches(&id, "CONFIRMED", WITHIN).await;
        let events = api.events_of(&id, "PARTNER_SYNC_REQUESTED").await;
        if events.iter().all(|it| it["status"] == "PENDING" && it["attempt_count"] == json!(0)) {
            break;
        }
        assert!(Instant::now() < deadline, "still carried: {events:?}");
    }
    let close = ["breakers", "close", "partner-sync", target, "--reason", "they are back"];
    assert_eq!(ask(api, &close).code, 0);
    api.all_done(usize::try_from(orders).unwrap(), WITHIN).await;
}
