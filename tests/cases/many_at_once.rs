//! Many callers at the same moment, each of whom asks twice.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::{join, join_all};
use tidegate_tests::api::{Api, Reply};
use tidegate_tests::eventually::eventually;
use tidegate_tests::host::Host;
use tidegate_tests::machine;
use tidegate_tests::oracle::{
    assert_dev_holds, assert_paid_once, assert_partner_knows, assert_published_once,
};
use tidegate_tests::order::Order;

const WITHDRAWALS: u32 = 200;
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
const DONE_WITHIN: Duration = Duration::from_secs(120);

/// Asks until there is an answer that is not "still in flight".
async fn post(api: &Api, order: &Order) -> Reply {
    eventually("the POST is answered", ANSWERED_WITHIN, async || {
        let reply = api.post(order).await?;
        if reply.status == 409 { Err(reply.text) } else { Ok(reply) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_withdrawals_at_once_each_posted_twice_are_two_hundred_payments() {
    let _shared = machine::shared().await;
    let folder = tempfile::tempdir().unwrap();
    let host = Host::dev(folder.path()).await;
    let (api, targets) = (host.dev_api(), host.targets());
    let orders: Vec<Order> = (0..WITHDRAWALS).map(Order::number).collect();

    let twice = orders.iter().map(|order| join(post(&api, order), post(&api, order)));
    let mut ids = Vec::new();
    for (one, two) in join_all(twice).await {
        assert_eq!((one.status, two.status), (201, 201), "{}\n{}", one.text, two.text);
        assert_eq!(one.text, two.text, "both callers get one answer");
        let mut replayed = [one.header("idempotency-replayed"), two.header("idempotency-replayed")];
        replayed.sort_unstable();
        assert_eq!(replayed, ["", "true"], "one of them was the first");
        ids.push(one.json()["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "a withdrawal each");

    api.all_done(orders.len(), DONE_WITHIN).await;
    assert_paid_once(&api, &orders, &ids, &targets.node.transfers().await).await;
    assert_partner_knows(&ids, &targets.partner.records().await);
    assert_published_once(&api, &ids, &targets.broker.messages().await).await;
    assert_dev_holds(folder.path());
}
