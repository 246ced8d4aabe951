//! What a node can do wrong, and that it comes out as the right kind of error, without secrets.

use serde_json::json;

use super::super::endpoint::Endpoint;
use super::super::fake_node::{FakeNode, Manner, unknown};
use super::super::health::Standing;
use super::*;

fn endpoint(url: &str) -> Endpoint {
    let url: Url = url.parse().unwrap();
    let client = client(std::slice::from_ref(&url), Duration::from_millis(300)).unwrap();
    Endpoint::new(url, client, 1)
}

fn calls(count: usize) -> Vec<Call> {
    (0..count).map(|n| Call { method: "echo", params: json!([n]) }).collect()
}

async fn echo_node() -> FakeNode {
    FakeNode::start(|method, params| match method {
        "echo" => Ok(params[0].clone()),
        "null" => Ok(Value::Null),
        method => unknown(method),
    })
    .await
}

#[tokio::test]
async fn answers_are_matched_to_calls_whatever_their_order() {
    let node = echo_node().await;
    let endpoint = endpoint(&node.url);
    for manner in [Manner::Proper, Manner::Reversed, Manner::NoBatches] {
        node.behave(manner);
        let answers = endpoint.batch(&calls(5)).await.unwrap();
        let expected: Vec<Answer> = (0..5).map(|n| Ok(json!(n))).collect();
        assert_eq!(answers, expected);
    }
    assert_eq!(endpoint.batch(&[]).await.unwrap(), []);
    let null = Call { method: "null", params: json!([]) };
    assert_eq!(endpoint.batch(&[null]).await.unwrap(), [Ok(Value::Null)]);
}

#[tokio::test]
async fn a_nodes_own_error_is_an_answer_with_its_text_kept_and_bounded() {
    let node =
        FakeNode::start(|method, _| Err((-32_000, format!("{method}{}", "x".repeat(9_999)))));
    let node = node.await;
    let answers = endpoint(&node.url).batch(&calls(2)).await.unwrap();
    let refusal = answers[1].clone().unwrap_err();
    assert_eq!((refusal.code, &refusal.message[..5]), (-32_000, "echox"));
    assert_eq!(refusal.message.len(), MESSAGE_CHARS_MAX);
}

/// Asks until the node is not left alone any more.
async fn ask(endpoint: &Endpoint, calls: &[Call]) -> Result<Vec<Answer>, RpcError> {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let answered = endpoint.batch(calls).await;
        let left_alone = match &answered {
            Err(RpcError::Transport { cause, .. }) => cause.starts_with("out of use"),
            Err(RpcError::RateLimited { .. }) => endpoint.standing() == Standing::RateLimited,
            _ => false,
        };
        if !left_alone {
            return answered;
        }
        assert!(std::time::Instant::now() < deadline, "{answered:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_node_of_another_chain_is_never_asked_anything_else() {
    let node = FakeNode::start(|_, _| Ok(json!("0x5"))).await;
    let endpoint = endpoint(&node.url);
    for _ in 0..2 {
        let error = endpoint.batch(&calls(1)).await.unwrap_err();
        assert!(matches!(error, RpcError::WrongChain { expected: 1, found: 5, .. }), "{error:?}");
    }
    assert_eq!(node.count("echo"), 0);
    assert_eq!(node.count("eth_chainId"), 1, "and left alone for a while");
    assert_eq!(endpoint.standing(), Standing::WrongChain);
}

#[tokio::test]
async fn the_chain_id_is_checked_once_and_again_after_the_connection_failed_and_after_a_while() {
    let node = echo_node().await;
    let endpoint = endpoint(&node.url);
    for _ in 0..3 {
        endpoint.batch(&calls(2)).await.unwrap();
    }
    assert_eq!(node.count("eth_chainId"), 1);
    node.behave(Manner::Status(502));
    assert!(endpoint.batch(&calls(2)).await.is_err());
    assert_eq!(endpoint.standing(), Standing::Away);
    node.behave(Manner::Proper);
    ask(&endpoint, &calls(2)).await.unwrap();
    assert_eq!((node.count("eth_chainId"), endpoint.standing()), (2, Standing::Up));
    endpoint.forget_chain_check();
    endpoint.batch(&calls(2)).await.unwrap();
    assert_eq!(node.count("eth_chainId"), 3, "a balancer changes nodes without an error");
}

#[tokio::test]
async fn a_node_that_was_put_behind_the_name_of_another_is_found_out_within_its_time() {
    let chain = Arc::new(std::sync::atomic::AtomicU64::new(1));
    let of_node = Arc::clone(&chain);
    let node = FakeNode::start(move |method, params| match method {
        "eth_chainId" => {
            Ok(json!(format!("{:#x}", of_node.load(std::sync::atomic::Ordering::SeqCst))))
        }
        _ => Ok(params[0].clone()),
    })
    .await;
    let endpoint = endpoint(&node.url);
    endpoint.batch(&calls(1)).await.unwrap();
    chain.store(5, std::sync::atomic::Ordering::SeqCst);
    endpoint.forget_chain_check();
    let error = endpoint.batch(&calls(1)).await.unwrap_err();
    assert!(matches!(error, RpcError::WrongChain { found: 5, .. }), "{error:?}");
    assert_eq!(node.count("echo"), 1);
}

#[tokio::test]
async fn what_a_node_refuses_says_nothing_about_its_health() {
    let node = FakeNode::start(|_, _| Err((-32_000, "nonce too low".into()))).await;
    let endpoint = endpoint(&node.url);
    for _ in 0..50 {
        assert!(endpoint.batch(&calls(1)).await.unwrap()[0].is_err());
    }
    assert_eq!(endpoint.standing(), Standing::Up);
}

#[tokio::test]
async fn a_rate_limit_is_recognised_however_it_is_said_and_the_node_is_not_asked_meanwhile() {
    let limit: Arc<std::sync::Mutex<(i64, String)>> = Arc::default();
    let of_node = Arc::clone(&limit);
    let node = FakeNode::start(move |_, _| Err(of_node.lock().unwrap().clone())).await;
    let one = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32005,"message":"rate limit"}}"#;
    let answers = [
        (Manner::Status(429), 0, ""),
        (Manner::Raw(one.into()), 0, ""),
        (Manner::Proper, 429, "slow down"),
        (Manner::Proper, -32_005, "daily request limit exceeded"),
        (Manner::Proper, -32_000, "Too Many Requests"),
    ];
    for (manner, code, text) in answers {
        node.behave(manner);
        *limit.lock().unwrap() = (code, text.into());
        let endpoint = endpoint(&node.url);
        let error = endpoint.batch(&calls(2)).await.unwrap_err();
        assert!(matches!(error, RpcError::RateLimited { .. }), "{text}: {error:?}");
        assert_eq!(endpoint.standing(), Standing::RateLimited);
        let asked = node.calls.lock().unwrap().len();
        assert!(endpoint.batch(&calls(2)).await.is_err());
        assert_eq!(node.calls.lock().unwrap().len(), asked, "{text}");
    }
    node.behave(Manner::Proper);
    for text in ["execution reverted: rate limit exceeded", "gas limit exceeded", "limit"] {
        *limit.lock().unwrap() = (-32_005, text.into());
        assert!(endpoint(&node.url).batch(&calls(2)).await.unwrap()[0].is_err(), "{text}");
    }
}

#[test]
fn the_wait_that_a_node_orders_is_read_and_bounded() {
    let wait = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, text.parse().unwrap());
        let now = SystemTime::from(
            chrono::DateTime::parse_from_rfc2822("Wed, 21 Oct 2015 07:28:00 GMT").unwrap(),
        );
        retry_after(&headers, now)
    };
    assert_eq!(wait("7"), Some(Duration::from_secs(7)));
    assert_eq!(wait("0"), Some(Duration::from_millis(100)));
    assert_eq!(wait("99999999"), Some(RATE_LIMIT_WAIT_MAX));
    assert_eq!(wait("Wed, 21 Oct 2015 07:28:20 GMT"), Some(Duration::from_secs(20)));
    assert_eq!(wait("Wed, 21 Oct 2015 07:00:00 GMT"), Some(Duration::from_millis(100)));
    assert_eq!(wait("soon"), None);
}

#[tokio::test]
async fn everything_that_is_no_answer_is_a_transport_error() {
    let node = echo_node().await;
    let to_node = || endpoint(&node.url);
    let manners = [
        Manner::Status(500),
        Manner::Status(302),
        Manner::Silent,
        Manner::Raw(String::new()),
        Manner::Raw("<html>".into()),
        Manner::Raw("{}".into()),
        Manner::Raw("[]".into()),
        Manner::Raw(r#"{"jsonrpc":"2.0","id":0}"#.into()),
        Manner::Raw(r#"[{"id":0,"result":1},{"id":0,"result":1}]"#.into()),
        Manner::Raw(r#"[{"id":0,"result":1},{"id":7,"result":1}]"#.into()),
        Manner::Raw(r#"[{"id":0,"result":1}]"#.into()),
        Manner::Raw("x".repeat(RESPONSE_BYTES_MAX + 1)),
    ];
    for manner in manners {
        node.behave(manner);
        let error = to_node().batch(&calls(2)).await.unwrap_err();
        assert!(matches!(error, RpcError::Transport { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn no_error_shows_the_credentials_of_a_url() {
    let node = echo_node().await;
    node.behave(Manner::Status(401));
    let with_credentials = node.url.replace("http://", "http://user:hunter2@") + "/v3/apikey9";
    let unreachable = "http://user:hunter2@127.0.0.1:1/v3/apikey9".to_owned();
    for url in [with_credentials, unreachable] {
        let endpoint = endpoint(&url);
        let error = endpoint.batch(&calls(1)).await.unwrap_err();
        let shown = format!("{error} {error:?} {}", endpoint.label());
        for secret in ["user", "hunter2", "apikey9"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[test]
fn quantities_are_hexadecimal() {
    assert_eq!(quantity(&json!("0x1b4")), Some(436));
    for bad in [json!("1b4"), json!("0x"), json!(436), json!("0x10000000000000000"), json!(null)] {
        assert_eq!(quantity(&bad), None, "{bad}");
    }
}
