//! What must hold once nothing goes wrong any more, whatever went wrong before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use sqlx::{Connection, PgConnection, Row};
use tidegate_tests::broker::Message;
use tidegate_tests::eventually::eventually;
use tidegate_tests::oracle::{
    assert_holds, assert_paid_once, assert_partner_knows, assert_published_once,
};
use tidegate_tests::order::Order;
use tidegate_tests::witness::Seen;

use super::load::Known;
use super::scene::{ORDER_PAID, STREAM, Scene};

const READY_WITHIN: Duration = Duration::from_secs(30);
const FINAL_WITHIN: Duration = Duration::from_secs(120);

/// What it came to.
#[derive(Debug)]
pub(super) struct Tally {
    withdrawals: usize,
    events: usize,
    undone: usize,
    seen: Seen,
    partner_requests: u64,
    partner_effects: u64,
    messages: usize,
    messages_repeated: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} withdrawals, each paid once; {} other events, {} undone ones; {} leases, {} of them \
             lost, {} events taken more than once; at the targets: {} of {} requests and {} of {} \
             messages were repeats",
            self.withdrawals,
            self.events,
            self.undone,
            self.seen.leases,
            self.seen.lost,
            self.seen.taken_again,
            self.partner_requests - self.partner_effects,
            self.partner_requests,
            self.messages_repeated,
            self.messages,
        )
    }
}

/// Waits until all work is done, and checks everything.
pub(super) async fn check(scene: &Scene, known: Known) -> Tally {
    let Known { withdrawals, events, undone } = known;
    let (orders, ids): (Vec<Order>, Vec<String>) = withdrawals.into_iter().unzip();
    for host in scene.fleet.members() {
        host.hold_process().await.running();
        eventually("the host is ready", READY_WITHIN, async || host.api().try_get("/readyz").await)
            .await;
    }
    let api = scene.fleet.members()[0].api();
    api.all_done(orders.len(), FINAL_WITHIN).await;

    assert_eq!(scene.witness.faults().await.unwrap(), Vec::<String>::new(), "leases are kept");
    assert_eq!(scene.fleet.panics(), Vec::<String>::new());
    let written = written_keys(&scene.postgres.url).await;
    let of_type = |wanted: &str| -> BTreeSet<String> {
        written.iter().filter(|(_, name)| *name == wanted).map(|(key, _)| key.clone()).collect()
    };
    assert_eq!(of_type(ORDER_PAID), events, "what was answered or committed, and nothing else");

    assert_paid_once(&api, &orders, &ids, &scene.node.transfers().await).await;
    let records = scene.partner.records().await;
    assert_partner_knows(&ids, &records);
    let (mut partner_requests, mut partner_effects) = (0, 0);
    for record in records.values() {
        for key in record["idempotency_keys"].as_array().unwrap() {
            let event_type = written.get(key.as_str().unwrap()).map(String::as_str);
            assert_eq!(event_type, Some("PARTNER_SYNC_REQUESTED"), "{key}: {record}");
        }
        partner_requests += record["requests"]["put"].as_u64().unwrap();
        partner_effects += record["effects"].as_u64().unwrap();
    }

    let told = scene.nats.messages(STREAM).await;
    let messages = told.len();
    let told = first_of_each(told);
    let messages_repeated = messages - told.len();
    let (told_orders, told): (Vec<_>, Vec<_>) =
        told.into_iter().partition(|message| message.topic == "tidegate.order_paid");
    let keys: Vec<_> =
        told_orders.iter().map(|m| m.body["data"]["key"].as_str().unwrap().to_owned()).collect();
    assert_eq!(keys.len(), events.len(), "each was told under one id");
    assert_eq!(keys.into_iter().collect::<BTreeSet<_>>(), events, "each, and no other");
    assert_published_once(&api, &ids, &told).await;
    let plugins = scene.plugins().display().to_string();
    assert_holds(&["--store", &scene.postgres.url, "--plugins", &plugins, "--default-flow"]);
    Tally {
        withdrawals: ids.len(),
        events: events.len(),
        undone: undone.len(),
        seen: scene.witness.seen().await,
        partner_requests,
        partner_effects,
        messages,
        messages_repeated,
    }
}

/// The key of every event, with its type.
async fn written_keys(database: &str) -> BTreeMap<String, String> {
    let mut connection = PgConnection::connect(database).await.unwrap();
    let sql = "SELECT idempotency_key::text AS key, event_type::text AS name FROM outbox_events";
    let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| (row.get("key"), row.get("name"))).collect()
}

/// Without the repeats of a message, which must be the same to the letter.
fn first_of_each(messages: Vec<Message>) -> Vec<Message> {
    let mut first: BTreeMap<String, Message> = BTreeMap::new();
    let mut kept = Vec::new();
    for message in messages {
        let id = message.body["id"].as_str().expect("a CloudEvent has an id").to_owned();
        match first.get(&id) {
            Some(before) => assert_eq!(*before, message, "a repeat says the same"),
            None => {
                kept.push(message.clone());
                first.insert(id, message);
            }
        }
    }
    kept
}
