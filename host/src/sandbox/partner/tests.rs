use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::sandbox::testing::{Door, door, loopback};

async fn start(journal: &Path, api_key: Option<&str>) -> (Partner, Door) {
    let clock = Clock::Manual(Arc::new(1_000.into()));
    let api_key = api_key.map(str::to_owned);
    let partner = Partner::start(journal, loopback().await, api_key, clock).unwrap();
    let door = door(&partner.url());
    (partner, door)
}

fn journal() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("partner.jsonl");
    (folder, path)
}

async fn put(door: &Door, id: &str, key: &str, status: &str) -> (u16, Value) {
    try_put(door, id, key, status).await.unwrap()
}

async fn try_put(
    door: &Door,
    id: &str,
    key: &str,
    status: &str,
) -> Result<(u16, Value), reqwest::Error> {
    let request = door
        .request("PUT", &format!("/withdrawals/{id}"))
        .header("Idempotency-Key", key)
        .json(&json!({ "status": status, "amount": "1.5" }));
    door.send(request).await.map(|(status, _, body)| (status, body))
}

#[tokio::test]
async fn a_record_follows_its_withdrawal_and_survives_a_restart() {
    let (_folder, path) = journal();
    let (partner, door) = start(&path, None).await;
    assert_eq!(door.get("/withdrawals/w").await.0, 404);
    let (status, record) = put(&door, "w", "k1", "REQUESTED").await;
    assert_eq!((status, &record["status"]), (201, &json!("REQUESTED")));
    assert_eq!(put(&door, "w", "k2", "BROADCASTED").await.0, 200);
    let (_, record) = put(&door, "w", "k3", "CONFIRMED").await;
    assert_eq!(record["status"], "CONFIRMED");
    assert_eq!(record["withdrawal"]["amount"], "1.5");
    assert_eq!(record["idempotency_keys"], json!(["k1", "k2", "k3"]));

    drop(partner);
    let (partner, door) = start(&path, None).await;
    let (_, list) = door.get("/withdrawals").await;
    assert_eq!(list["withdrawals"].as_array().unwrap().len(), 1);
    assert_eq!(list["withdrawals"][0]["status"], "CONFIRMED");
    assert_eq!(list["withdrawals"][0]["effects"], 3);
    // The key is known to the new process too.
    assert_eq!(put(&door, "w", "k1", "REQUESTED").await.0, 201);
    assert_eq!(partner.records()[0].effects, 3);
    partner.shutdown().await;
}

#[tokio::test]
async fn a_repeated_key_gets_the_same_answer_and_has_no_second_effect() {
    let (_folder, path) = journal();
    let (partner, door) = start(&path, None).await;
    let first = put(&door, "w", "k", "REQUESTED").await;
    put(&door, "w", "k2", "BROADCASTED").await;
    assert_eq!(put(&door, "w", "k", "REQUESTED").await, first);
    let (status, answer) = put(&door, "w", "k", "FAILED").await;
    assert_eq!((status, &answer["error"]["code"]), (422, &json!("idempotency_key_reused")));
    let record = partner.records().remove(0);
    assert_eq!((record.effects, record.status), (2, PartnerStatus::Broadcasted));
    assert_eq!(record.requests.put, 4);
}

#[tokio::test]
async fn a_late_older_status_does_not_take_the_record_back() {
    let (_folder, path) = journal();
    let (partner, door) = start(&path, None).await;
    put(&door, "w", "k2", "CONFIRMED").await;
    let (status, record) = put(&door, "w", "k1", "BROADCASTED").await;
    assert_eq!((status, &record["status"], &record["late"]), (200, &json!("CONFIRMED"), &json!(1)));
    put(&door, "w", "k3", "FAILED").await;
    assert_eq!(partner.records()[0].status, PartnerStatus::Confirmed);
}

#[tokio::test]
async fn what_is_no_withdrawal_is_refused() {
    let (_folder, path) = journal();
    let (partner, door) = start(&path, None).await;
    assert_eq!(put(&door, "w", "k", "DONE").await.0, 422);
    assert_eq!(put(&door, &"w".repeat(129), "k", "REQUESTED").await.0, 422);
    assert_eq!(put(&door, "w", &"k".repeat(257), "REQUESTED").await.0, 422);
    let garbage =
        door.request("PUT", "/withdrawals/w").header("Content-Type", "application/json").body("{");
    assert_eq!(door.send(garbage).await.unwrap().0, 400);
    assert!(partner.records().is_empty());
}

#[tokio::test]
async fn an_api_key_is_asked_for_where_one_is_set() {
    let (_folder, path) = journal();
    let (_partner, door) = start(&path, Some("secret")).await;
    assert_eq!(door.get("/withdrawals").await.0, 401);
    for (key, expected) in [("wrong", 401), ("secret", 200)] {
        let request = door.request("GET", "/withdrawals").bearer_auth(key);
        assert_eq!(door.send(request).await.unwrap().0, expected);
    }
}

#[tokio::test]
async fn a_listing_is_read_in_pages() {
    let (_folder, path) = journal();
    let (_partner, door) = start(&path, None).await;
    for id in ["a", "b", "c"] {
        put(&door, id, id, "REQUESTED").await;
    }
    let (_, page) = door.get("/withdrawals?limit=2").await;
    assert_eq!((page["withdrawals"].as_array().unwrap().len(), &page["next"]), (2, &json!("b")));
    let (_, page) = door.get("/withdrawals?limit=2&after=b").await;
    assert_eq!((&page["withdrawals"][0]["id"], &page["next"]), (&json!("c"), &Value::Null));
}

#[tokio::test]
async fn faults_without_effect_answer_so_and_write_nothing() {
    let (_folder, path) = journal();
    let (partner, door) = start(&path, None).await;
    for (mode, expected) in [("down", 503), ("http_500", 500), ("http_429", 429)] {
        assert_eq!(door.post("/_faults", json!({ "mode": mode, "count": 1 })).await.0, 204);
        assert_eq!(put(&door, "w", "k", "REQUESTED").await.0, expected, "{mode}");
        assert_eq!(door.get("/withdrawals/w").await.0, 404);
    }
    door.post("/_faults", json!({ "mode": "http_429", "retry_after_s": 7 })).await;
    let (_, headers, _) = door.send(door.request("GET", "/withdrawals")).await.unwrap();
    assert_eq!(headers["retry-after"], "7");
    assert_eq!(door.delete("/_faults").await, 204);
    assert_eq!(door.get("/withdrawals").await.0, 200);
    assert!(partner.records().is_empty());
}

#[tokio::test]
async fn a_cut_connection_comes_before_or_after_the_effect() {
    let (_folder, path) = journal();
    let (partner, door) = start(&path, None).await;
    door.post("/_faults", json!({ "mode": "drop_before_effect", "count": 1 })).await;
    let error = try_put(&door, "w", "k", "REQUESTED").await.unwrap_err();
    assert!(error.is_request() && !error.is_connect(), "{error:?}");
    assert!(partner.records().is_empty());

    partner.set_fault(PartnerFault::new(PartnerFaultMode::DropAfterEffect), Some(1));
    // A read is not what this fault concerns, and does not use it up.
    assert_eq!(door.get("/withdrawals/w").await.0, 404);
    assert!(try_put(&door, "w", "k", "REQUESTED").await.is_err());
    assert_eq!(partner.records().len(), 1);
    assert_eq!(put(&door, "w", "k", "REQUESTED").await.0, 201);
    assert_eq!(partner.records()[0].effects, 1);
}

#[tokio::test]
async fn a_slow_answer_does_not_hold_up_the_stop() {
    let (_folder, path) = journal();
    let (partner, door) = start(&path, None).await;
    partner.set_fault(PartnerFault::new(PartnerFaultMode::SlowMs(60_000)), None);
    let request = door.request("GET", "/withdrawals").timeout(Duration::from_secs(10));
    let waiting = tokio::spawn(async move { door.send(request).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let stopped = tokio::time::timeout(Duration::from_secs(5), partner.shutdown()).await;
    assert!(stopped.is_ok());
    assert!(waiting.await.unwrap().is_ok());
}
