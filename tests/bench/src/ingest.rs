//! Callers of the API: keep-alive connections, each with one request at a time.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::api::TOKEN;
use crate::fallible::Fallible;

const BODY: &str = r#"{"user_id":"user-4711","asset":"USDC","network":"eip155:1","amount":"125.5","destination_address":"0x52908400098527886E0F7030069857D2E4169EE7"}"#;

/// An answer is far shorter; a longer one is an error.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// How many withdrawals were answered with 201 by all connections together.
pub(crate) async fn post_for(
    address: &str,
    connections: usize,
    duration: Duration,
) -> Fallible<u64> {
    let mut callers = JoinSet::new();
    let end = Instant::now() + duration;
    for _ in 0..connections {
        let address = address.to_owned();
        callers.spawn(async move {
            let mut stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            let mut buffer = Vec::with_capacity(4096);
            let mut created = 0_u64;
            while Instant::now() < end {
                let key = uuid::Uuid::now_v7();
                let request = format!(
                    "POST /v1/withdrawals HTTP/1.1\r\nHost: {address}\r\n\
                     Authorization: Bearer {TOKEN}\r\nIdempotency-Key: \"{key}\"\r\n\
                     Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{BODY}",
                    BODY.len()
                );
                stream.write_all(request.as_bytes()).await?;
                answer(&mut stream, &mut buffer).await?;
                if !buffer.starts_with(b"HTTP/1.1 201") {
                    return Err(String::from_utf8_lossy(&buffer).into());
                }
                created += 1;
            }
            Fallible::Ok(created)
        });
    }
    let mut created = 0;
    while let Some(caller) = callers.join_next().await {
        created += caller??;
    }
    Ok(created)
}

/// Reads one answer with a known length into `buffer`.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Fallible<()> {
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err("the API closed a connection".into());
        }
        let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = head + 4;
        let length = content_length(&buffer[..head]).ok_or("an answer without a length")?;
        if buffer.len() >= head + length {
            return Ok(());
        }
        if buffer.len() > ANSWER_BYTES_MAX {
            return Err("an answer is too long".into());
        }
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).ok()?;
    let line = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim())
    });
    line?.parse().ok()
}
