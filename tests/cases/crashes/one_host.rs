//! One host on SQLite: `kill -9`, again and again, while withdrawals run.

use std::time::Duration;

use futures_util::future::{join, join_all};
use tidegate_tests::api::Api;
use tidegate_tests::host::Host;
use tidegate_tests::machine;
use tidegate_tests::oracle::{
    assert_dev_holds, assert_paid_once, assert_partner_knows, assert_published_once,
};
use tidegate_tests::order::Order;
use tidegate_tests::seed::{crash_for, seed};
use tokio::sync::watch;

use super::load::until_accepted;

/// As long as twenty kills and starts take.
const KILLS_FOR: Duration = Duration::from_secs(40);
const SECONDS_A_KILL: u64 = 2;
/// So many are handed in after each start.
const ORDERS_PER_START: u32 = 5;
/// A payment takes about a second here, so that a kill hits every step of some.
const KILL_WITHIN_MS: u64 = 2_000;
const DONE_WITHIN: Duration = Duration::from_secs(120);

/// How often the host was started, and how it is called since.
type Started = (u32, Api);

/// Asks, with the same key, until the host says that it has the withdrawal: what a caller does
/// whose host is killed meanwhile. Begins after the `start`th start.
async fn submit(start: u32, order: &Order, mut hosts: watch::Receiver<Started>) -> String {
    hosts.wait_for(|(starts, _)| *starts >= start).await.unwrap();
    let reply = until_accepted(|| hosts.borrow().1.clone(), |api| api.asking(order)).await;
    reply.json()["id"].as_str().unwrap().to_owned()
}

/// Kills the host again and again, at moments that the seed decides.
async fn kill_and_start(
    host: &mut Host,
    kills: u32,
    random: &mut fastrand::Rng,
    hosts: watch::Sender<Started>,
) {
    for start in 1..=kills {
        // The one place where a test waits for time and not for a fact: the moment is the test.
        tokio::time::sleep(Duration::from_millis(random.u64(0..KILL_WITHIN_MS))).await;
        host.kill().await;
        host.start_again().await;
        hosts.send((start + 1, host.dev_api())).expect("callers wait");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_withdrawals_survive_twenty_kills_and_each_is_paid_once() {
    let mut random = fastrand::Rng::with_seed(seed());
    let kills = (crash_for(KILLS_FOR).as_secs() / SECONDS_A_KILL).max(1);
    let kills = u32::try_from(kills).unwrap();
    let _shared = machine::shared().await;
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::dev(folder.path()).await;
    let orders: Vec<Order> = (0..kills * ORDERS_PER_START).map(Order::number).collect();

    let (hosts, started) = watch::channel((1, host.dev_api()));
    let callers = (1..)
        .zip(orders.chunks(ORDERS_PER_START as usize))
        .flat_map(|(start, batch)| batch.iter().map(move |order| (start, order)));
    let callers = join_all(callers.map(|(start, order)| submit(start, order, started.clone())));
    let (ids, ()) = join(callers, kill_and_start(&mut host, kills, &mut random, hosts)).await;

    let (api, targets) = (host.dev_api(), host.targets());
    api.all_done(orders.len(), DONE_WITHIN).await;
    assert_paid_once(&api, &orders, &ids, &targets.node.transfers().await).await;
    assert_partner_knows(&ids, &targets.partner.records().await);
    assert_published_once(&api, &ids, &targets.broker.messages().await).await;
    assert_dev_holds(folder.path());
}
