//! Against a real `nats-server -js`.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use bytes::Bytes;

use super::*;

struct Server {
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// None, with a line saying why, where the server is not installed.
fn start_server(port: u16, store: &Path) -> Option<Server> {
    let spawned = Command::new("nats-server")
        .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
        .arg(store)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = spawned else {
        let line = "skipped: nats-server is not installed; apt-get install nats-server";
        assert!(std::env::var_os("TIDEGATE_REQUIRE_ALL").is_none_or(|v| v != "1"), "{line}");
        eprintln!("{line}");
        return None;
    };
    Some(Server { child })
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn broker(port: u16) -> NatsBroker {
    NatsBroker::new(NatsConfig {
        stream: Some(NatsStream {
            name: "WITHDRAWALS".to_owned(),
            subjects: vec!["withdrawals.>".to_owned()],
            duplicate_window: NatsStream::DUPLICATE_WINDOW_DEFAULT,
        }),
        timeout: Duration::from_secs(2),
        ..NatsConfig::new(&format!("nats://127.0.0.1:{port}"))
    })
}

fn message(topic: &str, id: &str) -> Message {
    Message {
        topic: topic.to_owned(),
        id: id.to_owned(),
        content_type: "application/cloudevents+json".to_owned(),
        body: Bytes::from_static(b"{\"a\":1}"),
    }
}

/// Publishes until the server answers, for a server that has just been started may not yet.
async fn publish_until_held(broker: &NatsBroker, message: Message) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = broker.publish(message.clone()).await {
        assert!(matches!(error, PublishError::Unavailable(_)), "{error}");
        assert!(Instant::now() < deadline, "never published: {error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn messages_held(broker: &NatsBroker) -> u64 {
    let context = broker.connected().await.unwrap();
    let mut stream = context.get_stream("WITHDRAWALS").await.unwrap();
    stream.info().await.unwrap().state.messages
}

#[tokio::test]
async fn a_message_published_twice_is_in_the_stream_once_and_a_restart_is_survived() {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let Some(server) = start_server(port, store.path()) else { return };
    let broker = broker(port);
    publish_until_held(&broker, message("withdrawals.confirmed", "a")).await;
    broker.publish(message("withdrawals.confirmed", "a")).await.unwrap();
    broker.publish(message("withdrawals.confirmed", "b")).await.unwrap();
    assert_eq!(messages_held(&broker).await, 2);

    let context = broker.connected().await.unwrap();
    let stream = context.get_stream("WITHDRAWALS").await.unwrap();
    let first = stream.get_raw_message(1).await.unwrap();
    assert_eq!(first.subject.as_str(), "withdrawals.confirmed");
    assert_eq!(first.headers.get("Nats-Msg-Id").unwrap().as_str(), "a");
    assert_eq!(first.headers.get("Content-Type").unwrap().as_str(), "application/cloudevents+json");
    assert_eq!(&first.payload[..], b"{\"a\":1}");

    drop(server);
    let down = broker.publish(message("withdrawals.confirmed", "c")).await;
    assert!(matches!(down, Err(PublishError::Unavailable(_))), "{down:?}");
    let _server = start_server(port, store.path()).unwrap();
    publish_until_held(&broker, message("withdrawals.confirmed", "c")).await;
    assert_eq!(messages_held(&broker).await, 3);
}

#[tokio::test]
async fn a_topic_that_no_stream_takes_is_unavailable_and_says_so() {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let Some(_server) = start_server(port, store.path()) else { return };
    let broker = broker(port);
    publish_until_held(&broker, message("withdrawals.x", "a")).await;
    let answer = broker.publish(message("other.x", "b")).await;
    assert_eq!(answer, Err(PublishError::Unavailable("no stream takes topic other.x".to_owned())));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_and_is_found_later() {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let broker = broker(port);
    let down = broker.publish(message("withdrawals.x", "a")).await;
    assert!(matches!(down, Err(PublishError::Unavailable(_))), "{down:?}");
    let Some(_server) = start_server(port, store.path()) else { return };
    publish_until_held(&broker, message("withdrawals.x", "a")).await;
}
