//! A target on loopback, in raw bytes: it shows what came over the wire, and answers as told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// More often than any time-out between two parts.
const DRIP_EVERY: Duration = Duration::from_millis(20);

#[derive(Clone)]
pub(super) enum Answer {
    /// These bytes, to every request.
    Raw(String),
    /// What came in, as the body of an answer.
    Echo,
    /// The head of an answer, and of its body a byte now and then, without end.
    Drip,
    /// Nothing, for as long as the connection lasts.
    Silence,
    /// A head, and then a body of one byte each few milliseconds, for ever.
    Trickle,
    /// The end of the connection.
    Close,
}

impl Answer {
    pub(super) fn ok() -> Self {
        Self::text("ok")
    }

    pub(super) fn text(body: &str) -> Self {
        Self::Raw(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    }
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<String>>,
    connections: AtomicUsize,
    /// A connection was closed by the other side.
    closed: Notify,
}

impl Server {
    pub(super) async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, answer.clone(), Arc::clone(&shared)));
            }
        });
        Self { address, seen }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/path", self.address)
    }

    /// A manifest's line that lets a plugin call this server.
    pub(super) fn grant(&self) -> String {
        format!("http = [{{ origin = \"http://{}\", private = true }}]\n", self.address)
    }

    /// Everything that came in, one text a request.
    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    pub(super) async fn connection_closed(&self) {
        self.seen.closed.notified().await;
    }
}

/// The values of a header in a request's text, in order.
pub(super) fn header<'a>(request: &'a str, name: &str) -> Vec<&'a str> {
    let lines = request.split("\r\n\r\n").next().unwrap_or_default().lines().skip(1);
    lines
        .filter_map(|line| line.split_once(": "))
        .filter_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
        .collect()
}

async fn serve(mut stream: TcpStream, answer: Answer, seen: Arc<Seen>) {
    let mut buffer = Vec::new();
    loop {
        let Some(length) = whole_request(&mut stream, &mut buffer).await else {
            seen.closed.notify_one();
            return;
        };
        let request: Vec<u8> = buffer.drain(..length).collect();
        seen.requests.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
        match &answer {
            Answer::Raw(bytes) => {
                // The other side may have seen enough.
                let _ = stream.write_all(bytes.as_bytes()).await;
            }
            Answer::Echo => {
                let length = request.len();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                // In parts, so that what is looked for in it is cut.
                for part in [head.as_bytes(), &request[..length / 2], &request[length / 2..]] {
                    let _ = stream.write_all(part).await;
                    tokio::task::yield_now().await;
                }
            }
            Answer::Drip => {
                let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
                let mut part: &[u8] = head;
                while stream.write_all(part).await.is_ok() {
                    part = b"x";
                    tokio::time::sleep(DRIP_EVERY).await;
                }
                return;
            }
            Answer::Silence => {}
            Answer::Trickle => return trickle(stream, &seen).await,
            Answer::Close => return,
        }
    }
}

/// Until the other side has had enough.
async fn trickle(mut stream: TcpStream, seen: &Seen) {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
    let mut sent = stream.write_all(head).await;
    while sent.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
        sent = stream.write_all(b"x").await;
    }
    seen.closed.notify_one();
}

/// How many bytes of the buffer are one request, once they are there.
async fn whole_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<usize> {
    loop {
        if let Some(length) = request_length(&String::from_utf8_lossy(buffer)) {
            return Some(length);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

fn request_length(text: &str) -> Option<usize> {
    let head = text.find("\r\n\r\n")? + 4;
    if let Some(length) = header(text, "content-length").first() {
        let end = head + length.parse::<usize>().unwrap();
        return (text.len() >= end).then_some(end);
    }
    if header(text, "transfer-encoding").is_empty() {
        return Some(head);
    }
    text[head..].find("0\r\n\r\n").map(|at| head + at + 5)
}
