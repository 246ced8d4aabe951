//! What must hold in the end, whatever happened on the way.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use serde_json::Value;

use crate::api::Api;
use crate::broker::Message;
use crate::command_line::tidegate;
use crate::node::Transfer;
use crate::order::Order;

/// Of the stand-in's assets.
const DECIMALS: [(&str, usize); 2] = [("ETH", 18), ("USDC", 6)];
const PUBLISHED: [&str; 3] =
    ["withdrawal_requested", "withdrawal_broadcasted", "withdrawal_confirmed"];

/// Each order was paid once and exactly, and nothing else was paid. `ids`: of the withdrawals, in
/// the orders' order.
///
/// # Panics
/// It is not so.
pub async fn assert_paid_once(api: &Api, orders: &[Order], ids: &[String], transfers: &[Transfer]) {
    let wanted: BTreeMap<_, _> = orders
        .iter()
        .map(|order| {
            let decimals = DECIMALS.iter().find(|(name, _)| *name == order.asset).unwrap().1;
            let paid = (order.asset.clone(), order.units(decimals));
            (order.destination.to_lowercase(), vec![paid])
        })
        .collect();
    let mut found: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for transfer in transfers {
        let paid = (transfer.asset.clone(), transfer.units.clone());
        found.entry(transfer.to.clone()).or_default().push(paid);
    }
    assert_eq!(found, wanted, "by destination: what was paid, and what should have been");

    let by_destination: HashMap<_, _> =
        transfers.iter().map(|transfer| (&transfer.to, &transfer.tx_hash)).collect();
    let withdrawals = api.all("/v1/withdrawals").await;
    assert_eq!(withdrawals.len(), orders.len(), "a withdrawal an order");
    let by_id: HashMap<_, _> = withdrawals.iter().map(|w| (w["id"].as_str().unwrap(), w)).collect();
    for (order, id) in orders.iter().zip(ids) {
        let withdrawal = by_id.get(id.as_str()).unwrap_or_else(|| panic!("{id} is not listed"));
        assert_eq!(withdrawal["status"], "CONFIRMED", "{withdrawal}");
        assert_eq!(withdrawal["amount"], order.amount.as_str(), "{withdrawal}");
        let paid_by = by_destination[&order.destination.to_lowercase()];
        assert_eq!(withdrawal["tx_hash"], paid_by.as_str(), "{withdrawal}");
    }
}

/// The partner has one record of each withdrawal and no other, each was told all three statuses
/// once and in order, and knows the last.
///
/// # Panics
/// It is not so.
pub fn assert_partner_knows(ids: &[String], records: &BTreeMap<String, Value>) {
    let (mut wanted, known): (Vec<_>, Vec<_>) = (ids.to_vec(), records.keys().cloned().collect());
    wanted.sort();
    assert_eq!(known, wanted, "a record a withdrawal");
    for (id, record) in records {
        assert_eq!(record["status"], "CONFIRMED", "{record}");
        assert_eq!(record["withdrawal"]["status"], "CONFIRMED", "{record}");
        assert_eq!(record["withdrawal"]["withdrawal_id"], id.as_str(), "{record}");
        assert_eq!(record["effects"], 3, "REQUESTED, BROADCASTED, CONFIRMED: {record}");
        assert_eq!(record["late"], 0, "in this order: {record}");
    }
}

/// Each withdrawal's three events were published once each and in order, and nothing else was.
/// The messages' ids are the events'.
///
/// # Panics
/// It is not so.
pub async fn assert_published_once(api: &Api, ids: &[String], messages: &[Message]) {
    let mut by_withdrawal: HashMap<&str, Vec<&Message>> = HashMap::new();
    for message in messages {
        assert_eq!(message.body["specversion"], "1.0", "{message:?}");
        let subject = message.body["subject"].as_str().expect("a subject");
        by_withdrawal.entry(subject).or_default().push(message);
    }
    assert_eq!(messages.len(), PUBLISHED.len() * ids.len(), "three messages a withdrawal");
    let events: HashMap<String, Value> = api
        .all("/v1/events")
        .await
        .into_iter()
        .map(|event| (event["id"].as_str().unwrap().to_owned(), event))
        .collect();
    let mut seen = HashSet::new();
    for id in ids {
        let told = by_withdrawal.get(id.as_str()).map(Vec::as_slice).unwrap_or_default();
        let topics: Vec<_> = told.iter().map(|message| message.topic.as_str()).collect();
        let wanted = PUBLISHED.map(|name| format!("tidegate.{name}"));
        assert_eq!(topics, wanted, "{id}");
        for message in told {
            let event = message.body["id"].as_str().expect("an id");
            assert!(seen.insert(event), "{event} was published twice");
            let event = events.get(event).unwrap_or_else(|| panic!("{event} is no event"));
            assert_eq!(event["aggregate_id"], id.as_str());
            let topic = message.topic.trim_start_matches("tidegate.").to_uppercase();
            assert_eq!(event["event_type"], topic.as_str());
            assert_eq!(message.body["data"], event["payload"], "the event's own payload");
        }
    }
}

/// The store is as it should be, by the product's own auditor; `store` are its arguments.
///
/// # Panics
/// It is not so.
pub fn assert_holds(store: &[&str]) {
    let audit = tidegate(&[&["verify", "--json"], store].concat());
    assert_eq!((audit.code, &audit.json()["ok"]), (0, &Value::Bool(true)), "{}", audit.out);
}

/// The same for the store of `tidegate dev` that runs in this folder.
///
/// # Panics
/// It is not so.
pub fn assert_dev_holds(folder: &Path) {
    let data = folder.join("data");
    let store = format!("sqlite:{}", data.join("tidegate.db").display());
    let plugins = data.join("plugins").display().to_string();
    assert_holds(&["--store", &store, "--plugins", &plugins, "--default-flow"]);
}
