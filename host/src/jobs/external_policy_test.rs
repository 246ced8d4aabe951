use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::domain::{WithdrawalId, WithdrawalRequest};

const SECRET: &str = "a secret of the test's own";

fn withdrawal() -> Withdrawal {
    let request = WithdrawalRequest {
        user_id: "user-1".into(),
        asset: "ETH".into(),
        network: "eip155:1".parse().unwrap(),
        amount: "1.5".parse().unwrap(),
        destination_address: "0x52908400098527886E0F7030069857D2E4169EE7".into(),
    };
    Withdrawal::requested(WithdrawalId::generate(), request, Timestamp::UNIX_EPOCH)
}

/// Answers one request with this, or hangs; gives what was asked.
async fn service(answer: Option<String>) -> (Url, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/decide?key=s3cret", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 16_384];
        let mut length = 0;
        while !String::from_utf8_lossy(&request[..length]).contains("\"}") {
            length += stream.read(&mut request[length..]).await.unwrap();
        }
        match answer {
            Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
            None => std::future::pending().await,
        }
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    (url.parse().unwrap(), asked)
}

fn http(status: &str, body: &str) -> Option<String> {
    let length = body.len();
    Some(format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    ))
}

async fn ask(answer: Option<String>) -> (Result<ExternalAnswer, String>, JoinHandle<String>) {
    let (url, asked) = service(answer).await;
    let external = ExternalPolicy::new(url, SECRET.to_owned(), Duration::from_millis(300)).unwrap();
    let at = Timestamp::from_timestamp(1_900_000_000, 0).unwrap();
    (external.ask(&withdrawal(), "digest", "v1", at).await, asked)
}

#[tokio::test]
async fn only_a_clear_yes_to_the_question_is_one() {
    let yes = r#"{"decision":"allow","request":"digest"}"#;
    assert_eq!(ask(http("200 OK", yes)).await.0, Ok(ExternalAnswer::Allow));
    let no = r#"{"decision":"deny","request":"digest","reason":"sanc\ntions"}"#;
    let denied = ExternalAnswer::Deny { reason: "sanc tions".into() };
    assert_eq!(ask(http("200 OK", no)).await.0, Ok(denied));
    for (status, body) in [
        ("200 OK", r#"{"decision":"allow","request":"another"}"#),
        ("200 OK", r#"{"decision":"allow"}"#),
        ("200 OK", r#"{"decision":"ALLOW","request":"digest"}"#),
        ("200 OK", r#"{"decision":"wait","request":"digest"}"#),
        ("200 OK", r#"{"decision":true,"request":"digest"}"#),
        ("200 OK", r#"{"decision":"allow","request":"digest"} and more"#),
        ("200 OK", "yes"),
        ("200 OK", ""),
        ("201 Created", yes),
        ("302 Found\r\nlocation: /yes", yes),
        ("403 Forbidden", yes),
        ("500 Internal Server Error", yes),
    ] {
        let answer = ask(http(status, body)).await.0;
        let reason = answer.expect_err(&format!("{status} {body}"));
        assert!(!reason.contains("s3cret"), "{reason}");
    }
    let large = format!("{{\"request\":\"digest\",\"reason\":\"{}\"}}", "x".repeat(70_000));
    assert!(ask(http("200 OK", &large)).await.0.unwrap_err().contains("too large"));
}

#[tokio::test]
async fn no_answer_is_none() {
    let silent = ask(None).await.0.unwrap_err();
    assert!(silent.contains("timed out") && !silent.contains("s3cret"), "{silent}");
    let cut = ask(Some("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{".into())).await.0;
    assert!(cut.is_err());
    let nobody = "http://127.0.0.1:1/?key=s3cret".parse().unwrap();
    let nobody = ExternalPolicy::new(nobody, SECRET.into(), Duration::from_secs(5)).unwrap();
    let refused = nobody.ask(&withdrawal(), "digest", "v1", Timestamp::UNIX_EPOCH).await;
    assert!(!refused.clone().unwrap_err().contains("s3cret"), "{refused:?}");
    assert!(!format!("{nobody:?}").contains("a secret"));
}

#[tokio::test]
async fn the_request_says_everything_and_is_signed_with_its_time() {
    let (answer, asked) = ask(http("200 OK", r#"{"decision":"allow","request":"digest"}"#)).await;
    assert_eq!(answer, Ok(ExternalAnswer::Allow));
    let asked = asked.await.unwrap();
    let (head, body) = asked.split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    assert!(head.contains("tidegate-timestamp: 1900000000\r\n"), "{head}");
    let mut hmac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    hmac.update(format!("1900000000.{body}").as_bytes());
    let bytes = hmac.finalize().into_bytes();
    let signature: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(head.contains(&format!("tidegate-signature: v1={signature}")), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["amount"], "1.5");
    assert_eq!(body["destination_address"], "0x52908400098527886E0F7030069857D2E4169EE7");
    assert_eq!((&body["request"], &body["policy_version"]), (&"digest".into(), &"v1".into()));
}
