//! The server over a real socket: it answers, and it stops without losing what is in hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
}

async fn start(host: &Host, grace: Duration) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve(listener, host.router.clone(), stop.clone(), grace));
    Running { address, stop, server }
}

async fn submit(address: SocketAddr) -> TcpStream {
    let body = a_body().to_string();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/withdrawals HTTP/1.1\r\nhost: x\r\nauthorization: Bearer all\r\n\
         content-type: application/json\r\nidempotency-key: k\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn read_all(mut stream: TcpStream) -> String {
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text).await;
    text
}

#[tokio::test]
async fn what_is_in_hand_is_answered_before_the_server_ends() {
    let host = host();
    let gate = Arc::new(Semaphore::new(0));
    *host.judge.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let running = start(&host, Duration::from_secs(10)).await;
    let stream = submit(running.address).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.stop.cancel();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(TcpStream::connect(running.address).await.is_err(), "nothing new is taken");
    gate.add_permits(1);
    assert!(read_all(stream).await.starts_with("HTTP/1.1 201 "));
    running.server.await.unwrap().unwrap();
}

#[tokio::test]
async fn after_the_grace_time_the_server_ends_anyway() {
    let host = host();
    *host.judge.gate.lock().unwrap() = Some(Arc::new(Semaphore::new(0)));
    let running = start(&host, Duration::from_millis(50)).await;
    let stream = submit(running.address).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let stopped = Instant::now();
    running.stop.cancel();
    running.server.await.unwrap().unwrap();
    assert!(stopped.elapsed() < Duration::from_secs(3));
    assert_eq!(read_all(stream).await, "");
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_stop() {
    let host = host();
    let running = start(&host, Duration::from_secs(10)).await;
    let _idle = TcpStream::connect(running.address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let stopped = Instant::now();
    running.stop.cancel();
    running.server.await.unwrap().unwrap();
    assert!(stopped.elapsed() < Duration::from_secs(3));
}
