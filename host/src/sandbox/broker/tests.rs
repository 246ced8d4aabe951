use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::sandbox::testing::{Door, door, loopback};

async fn start(journal: &Path) -> (EventStream, Door) {
    let clock = Clock::Manual(Arc::new(1_000.into()));
    let stream = EventStream::start(journal, loopback().await, clock).unwrap();
    let door = door(&stream.url());
    (stream, door)
}

fn journal() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broker.jsonl");
    (folder, path)
}

fn message(topic: &str, id: &str, body: &[u8]) -> Message {
    Message {
        topic: topic.to_owned(),
        id: id.to_owned(),
        content_type: "application/json".to_owned(),
        body: Bytes::copy_from_slice(body),
    }
}

fn ids(page: &Value) -> Vec<&str> {
    page["messages"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn messages_are_listed_in_order_once_each_and_after_a_restart_too() {
    let (_folder, path) = journal();
    let (stream, door) = start(&path).await;
    let broker = stream.broker();
    broker.publish(message("a.x", "1", br#"{"n":1}"#)).await.unwrap();
    broker.publish(message("b", "2", b"text")).await.unwrap();
    broker.publish(message("a.x", "1", br#"{"n":1}"#)).await.unwrap();
    broker.publish(message("a.x", "3", b"\xff")).await.unwrap();
    let (status, all) = door.get("/messages").await;
    assert_eq!(status, 200);
    assert_eq!(ids(&all), ["1", "2", "3"]);
    assert_eq!(all["messages"][0]["body"], json!({ "n": 1 }));
    assert_eq!(all["messages"][1]["body_text"], "text");
    assert_eq!(all["messages"][2]["body_hex"], "ff");
    assert_eq!(all["messages"][0]["published_at_ms"], 1_000);

    drop(stream);
    assert!(matches!(
        broker.publish(message("a", "4", b"")).await,
        Err(PublishError::Unavailable(_))
    ));
    let (stream, door) = start(&path).await;
    assert_eq!(door.get("/messages").await.1, all);
    stream.broker().publish(message("b", "2", b"text")).await.unwrap();
    assert_eq!(stream.messages().len(), 3);
    stream.shutdown().await;
}

#[tokio::test]
async fn a_listing_is_filtered_by_topic_and_read_in_pages() {
    let (_folder, path) = journal();
    let (stream, door) = start(&path).await;
    for number in 1..=5 {
        let topic = if number % 2 == 1 { "odd" } else { "even" };
        stream.broker().publish(message(topic, &number.to_string(), b"{}")).await.unwrap();
    }
    let (_, page) = door.get("/messages?topic=odd&limit=2").await;
    assert_eq!((ids(&page), &page["next"]), (vec!["1", "3"], &json!(3)));
    let (_, page) = door.get("/messages?topic=odd&limit=2&after=3").await;
    assert_eq!((ids(&page), &page["next"]), (vec!["5"], &Value::Null));
    assert_eq!(door.get("/messages?topik=odd").await.0, 400);
}

#[tokio::test]
async fn faults_are_switched_over_http() {
    let (_folder, path) = journal();
    let (stream, door) = start(&path).await;
    let broker = stream.broker();
    assert_eq!(door.post("/_faults", json!({ "mode": "down", "count": 1 })).await.0, 204);
    let down = broker.publish(message("t", "1", b"")).await;
    assert!(matches!(down, Err(PublishError::Unavailable(_))));
    assert_eq!(stream.messages().len(), 0);

    door.post("/_faults", json!({ "mode": "drop_after_effect" })).await;
    assert!(broker.publish(message("t", "1", b"")).await.is_err());
    assert_eq!(stream.messages().len(), 1);
    assert_eq!(door.delete("/_faults").await, 204);
    broker.publish(message("t", "1", b"")).await.unwrap();
    assert_eq!(stream.messages().len(), 1);
    assert_eq!(door.post("/_faults", json!({ "mode": "nonsense" })).await.0, 422);
}
