//! What a newcomer sees: `tidegate dev`, one POST, and the money arrives.

use std::time::{Duration, Instant};

use tidegate_tests::eventually::{equal, eventually};
use tidegate_tests::host::Host;
use tidegate_tests::machine;
use tidegate_tests::oracle::{assert_paid_once, assert_partner_knows, assert_published_once};
use tidegate_tests::order::Order;
use tidegate_tests::process::Signal;

/// What the README says.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(5);
const DONE_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test]
async fn in_dev_a_withdrawal_is_confirmed_within_five_seconds_and_every_target_is_told_once() {
    let _alone = machine::alone().await;
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::dev(folder.path()).await;
    let (api, targets) = (host.dev_api(), host.targets());
    let orders = [Order::number(1), Order::number(2).of("USDC")];

    let mut ids = Vec::new();
    for order in &orders {
        let begun = Instant::now();
        let id = api.submit(order).await;
        let withdrawal = api.reaches(&id, "CONFIRMED", CONFIRMED_WITHIN).await;
        println!("{} CONFIRMED {} ms after the POST", order.asset, begun.elapsed().as_millis());
        assert!(withdrawal["confirmed_at"].is_string(), "{withdrawal}");
        ids.push(id);
    }
    api.all_done(orders.len(), DONE_WITHIN).await;
    assert_paid_once(&api, &orders, &ids, &targets.node.transfers().await).await;
    assert_partner_knows(&ids, &targets.partner.records().await);
    assert_published_once(&api, &ids, &targets.broker.messages().await).await;

    assert_eq!(host.stop(Signal::Int).await, 0, "Ctrl-C is a clean end");
    host.start_again().await;
    let (api, targets) = (host.dev_api(), host.targets());
    assert_paid_once(&api, &orders, &ids, &targets.node.transfers().await).await;
    assert_partner_knows(&ids, &targets.partner.records().await);
    assert_published_once(&api, &ids, &targets.broker.messages().await).await;

    // The key was used before the restart: it still gives the first answer, and pays nothing.
    let again = api.post(&orders[0]).await.unwrap();
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, "true"));
    assert_eq!(again.json()["id"], ids[0].as_str());
    assert_eq!(targets.node.transfers().await.len(), orders.len());
    assert_eq!(host.stop(Signal::Term).await, 0);
}

#[tokio::test]
async fn the_timeline_tells_the_whole_story_in_order() {
    let _shared = machine::shared().await;
    let folder = tempfile::tempdir().unwrap();
    let host = Host::dev(folder.path()).await;
    let api = host.dev_api();
    let id = api.submit(&Order::number(1)).await;
    api.all_done(1, DONE_WITHIN).await;

    let timeline = api.get(&format!("/v1/withdrawals/{id}/timeline")).await;
    let entries = timeline["entries"].as_array().unwrap();
    let times: Vec<_> = entries.iter().map(|entry| entry["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{timeline:#}");
    let of_kind = |kind: &str, name: &str| -> Vec<&str> {
        let entries = entries.iter().filter(|entry| entry["kind"] == kind);
        entries.map(|entry| entry[name].as_str().unwrap()).collect()
    };
    assert_eq!(of_kind("transition", "to"), ["REQUESTED", "BROADCASTED", "CONFIRMED"]);
    assert_eq!(of_kind("event", "status"), ["DONE"; 7]);
    assert_eq!(of_kind("done", "event_type").len(), 7);
    let signed = of_kind("transaction", "tx_hash");
    assert_eq!(signed, [timeline["withdrawal"]["tx_hash"].as_str().unwrap()]);
    let place = |kind: &str, name: &str, value: &str| {
        let found = entries.iter().position(|e| e["kind"] == kind && e[name] == value);
        found.unwrap_or_else(|| panic!("no {kind} with {name} {value}: {timeline:#}"))
    };
    let (signed, broadcasted) =
        (place("transaction", "tx_hash", signed[0]), place("transition", "to", "BROADCASTED"));
    assert!(signed < broadcasted, "stored before it was sent: {timeline:#}");
}

#[tokio::test]
async fn a_healthy_host_says_so() {
    let _shared = machine::shared().await;
    let folder = tempfile::tempdir().unwrap();
    let host = Host::dev(folder.path()).await;
    let api = host.dev_api();
    eventually("both probes answer with 200", Duration::from_secs(5), async || {
        for path in ["/healthz", "/readyz"] {
            let reply = tidegate_tests::api::send(api.request(reqwest::Method::GET, path)).await?;
            equal(&reply.status, &200)?;
        }
        Ok(())
    })
    .await;
}
