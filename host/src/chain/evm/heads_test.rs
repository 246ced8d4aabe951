//! Subscriptions to a server that a test controls: it gives heads, hangs up, goes silent, refuses.

use std::sync::Mutex;
use std::time::Instant;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_websockets::ServerBuilder;

use super::*;

/// What the server does after the subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Heads until it is told to do something else.
    Heads,
    HangUp,
    /// It reads nothing more, so it answers no ping either.
    Silent,
    /// Another chain.
    WrongChain,
    Huge,
    Garbage,
}

struct Server {
    url: Url,
    manner: Arc<Mutex<Manner>>,
    /// The `Authorization` of each connection.
    connections: Arc<Mutex<Vec<Option<String>>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn server(manner: Manner) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/v3/key?a=b", listener.local_addr().unwrap()).parse().unwrap();
    let manner = Arc::new(Mutex::new(manner));
    let connections: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let (how, seen) = (Arc::clone(&manner), Arc::clone(&connections));
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&how), Arc::clone(&seen)));
        }
    });
    Server { url, manner, connections, task }
}

async fn serve(
    stream: TcpStream,
    how: Arc<Mutex<Manner>>,
    seen: Arc<Mutex<Vec<Option<String>>>>,
) -> Option<()> {
    let (request, mut socket) = ServerBuilder::new().accept(stream).await.ok()?;
    let header = request.headers().get(AUTHORIZATION);
    let header = header.map(|value| value.to_str().unwrap().to_owned());
    seen.lock().unwrap().push(header);
    assert_eq!(request.uri().path_and_query().unwrap(), "/v3/key?a=b");
    let manner = *how.lock().unwrap();
    for result in [if manner == Manner::WrongChain { "0x5" } else { "0x1" }, "0xabc"] {
        let call = socket.next().await?.ok()?;
        let call: Value = serde_json::from_str(call.as_text()?).unwrap();
        let answer = json!({ "jsonrpc": "2.0", "id": call["id"], "result": result });
        socket.send(Message::text(answer.to_string())).await.ok()?;
    }
    loop {
        let head = json!({
            "jsonrpc": "2.0", "method": "eth_subscription",
            "params": { "subscription": "0xabc", "result": { "number": "0x1" } },
        });
        let manner = *how.lock().unwrap();
        let text = match manner {
            Manner::Heads | Manner::WrongChain => head.to_string(),
            Manner::Huge => "x".repeat(FRAME_BYTES_MAX + 1),
            Manner::Garbage => "{".into(),
            Manner::HangUp => return None,
            Manner::Silent => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                return None;
            }
        };
        socket.send(Message::text(text)).await.ok()?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn heads(urls: Vec<Url>) -> Arc<Heads> {
    let ms = Duration::from_millis;
    let timing = Timing { connect_max: ms(2_000), silence_max: ms(100), pause: (ms(10), ms(100)) };
    Arc::new(Heads { timing, ..Heads::new(urls, 1).unwrap() })
}

/// Follows until the test ends.
fn follow(heads: &Arc<Heads>) -> (CancellationToken, JoinHandle<()>) {
    let stop = CancellationToken::new();
    let (followed, until) = (Arc::clone(heads), stop.clone());
    (stop, tokio::spawn(async move { followed.follow(&until).await }))
}

async fn next(heads: &Heads) {
    tokio::time::timeout(Duration::from_secs(20), heads.next()).await.unwrap();
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_new_head_wakes_and_a_lost_subscription_is_made_again() {
    let server = server(Manner::Heads).await;
    let heads = heads(vec![server.url.clone()]);
    let (stop, task) = follow(&heads);
    next(&heads).await;
    assert!(heads.is_up() && heads.seen() > 0);
    for lost in [Manner::HangUp, Manner::Silent, Manner::Huge] {
        let before = server.connections.lock().unwrap().len();
        *server.manner.lock().unwrap() = lost;
        until(&format!("{lost:?} is noticed"), || !heads.is_up()).await;
        *server.manner.lock().unwrap() = Manner::Heads;
        let seen = heads.seen();
        until("heads come again", || heads.seen() > seen).await;
        assert!(server.connections.lock().unwrap().len() > before);
    }
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(20), task).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_no_head_wakes_nobody() {
    let server = server(Manner::Garbage).await;
    let heads = heads(vec![server.url.clone()]);
    let _follow = follow(&heads);
    until("it is subscribed", || heads.is_up()).await;
    assert!(tokio::time::timeout(Duration::from_millis(300), heads.next()).await.is_err());
}

#[tokio::test]
async fn a_node_of_another_chain_or_that_is_away_is_left_for_the_next_one() {
    let wrong = server(Manner::WrongChain).await;
    let right = server(Manner::Heads).await;
    let away: Url = "ws://127.0.0.1:1/".parse().unwrap();
    let heads = heads(vec![away, wrong.url.clone(), right.url.clone()]);
    let _follow = follow(&heads);
    next(&heads).await;
    assert_eq!(wrong.connections.lock().unwrap().len(), 1);
    assert_eq!(right.connections.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn credentials_go_into_the_header_and_nowhere_else() {
    let server = server(Manner::Heads).await;
    let mut url = server.url.clone();
    url.set_username("user").unwrap();
    url.set_password(Some("hunter2")).unwrap();
    let heads = heads(vec![url]);
    let _follow = follow(&heads);
    next(&heads).await;
    let connections = server.connections.lock().unwrap().clone();
    assert_eq!(connections, [Some("Basic dXNlcjpodW50ZXIy".to_owned())]);
}

#[tokio::test]
async fn without_a_url_it_waits_and_stops() {
    let heads = heads(Vec::new());
    let (stop, task) = follow(&heads);
    assert!(!heads.is_configured());
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(20), task).await.unwrap().unwrap();
}
