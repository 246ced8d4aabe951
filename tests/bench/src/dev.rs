//! `tidegate dev` as a newcomer runs it: from the POST of a withdrawal to CONFIRMED.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fallible::Fallible;
use crate::process::Process;
use crate::scene::Scene;

/// Between two looks at a withdrawal.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const CONFIRMED_WITHIN: Duration = Duration::from_secs(60);
const BODY: &str = r#"{"user_id":"user-1","asset":"@ASSET@","network":"@NETWORK@","amount":"0.5","destination_address":"0x52908400098527886E0F7030069857D2E4169EE7"}"#;

/// How long each of so many withdrawals took, one after another.
pub(crate) async fn confirmation_times(scene: &Scene, withdrawals: u64) -> Fallible<Vec<Duration>> {
    let program = scene.options.target_dir.join("release/tidegate");
    let data_dir = scene.folder("dev")?.display().to_string();
    let mut process =
        Process::start(&program, &["dev", "--listen", "127.0.0.1:0", "--data-dir", &data_dir])?;
    let url = process.after("ready http://").await?;
    let token = process.after("  token").await?;
    let body = BODY
        .replace("@ASSET@", tidegate::sandbox::ASSET_NATIVE)
        .replace("@NETWORK@", tidegate::sandbox::NETWORK);
    let mut times = Vec::new();
    for _ in 0..withdrawals {
        let clock = Instant::now();
        let key = uuid::Uuid::now_v7();
        let head = format!("Idempotency-Key: \"{key}\"\r\nContent-Type: application/json\r\n");
        let created = request(&url, &token, "POST", "/v1/withdrawals", &head, &body).await?;
        let id =
            created.get("id").and_then(serde_json::Value::as_str).ok_or("an answer without id")?;
        let path = format!("/v1/withdrawals/{id}");
        loop {
            let found = request(&url, &token, "GET", &path, "", "").await?;
            match found.get("status").and_then(serde_json::Value::as_str) {
                Some("CONFIRMED") => break,
                Some("FAILED") => return Err(format!("a withdrawal failed: {found}").into()),
                Some(_) | None => {}
            }
            if clock.elapsed() > CONFIRMED_WITHIN {
                return Err(format!("not CONFIRMED within a minute: {found}").into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        times.push(clock.elapsed());
    }
    process.interrupt()?;
    process.stop().await?;
    Ok(times)
}

/// One request on a connection of its own; its cost is small beside the wait for blocks.
async fn request(
    address: &str,
    token: &str,
    method: &str,
    path: &str,
    head: &str,
    body: &str,
) -> Fallible<serde_json::Value> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\n{head}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("an answer without a body")?;
    if !head.starts_with("HTTP/1.1 20") {
        return Err(format!("{method} {path}: {answer}").into());
    }
    Ok(serde_json::from_str(body)?)
}
