//! What a node can do wrong, and that it comes out as the right kind of error, without secrets.

use serde_json::json;

use super::super::fake_node::{FakeNode, Manner, unknown};
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

#[tokio::test]
async fn a_node_of_another_chain_is_never_asked_anything_else() {
    let node = FakeNode::start(|_, _| Ok(json!("0x5"))).await;
    let error = endpoint(&node.url).batch(&calls(1)).await.unwrap_err();
    assert!(matches!(error, RpcError::WrongChain { expected: 1, found: 5, .. }), "{error:?}");
    assert_eq!(node.count("echo"), 0);
}

#[tokio::test]
async fn the_chain_id_is_checked_once_and_again_after_the_connection_failed() {
    let node = echo_node().await;
    let endpoint = endpoint(&node.url);
    for _ in 0..3 {
        endpoint.batch(&calls(2)).await.unwrap();
    }
    assert_eq!(node.count("eth_chainId"), 1);
    node.behave(Manner::Status(502));
    assert!(endpoint.batch(&calls(2)).await.is_err());
    node.behave(Manner::Proper);
    endpoint.batch(&calls(2)).await.unwrap();
    assert_eq!(node.count("eth_chainId"), 2);
}

#[tokio::test]
async fn everything_that_is_no_answer_is_a_transport_error() {
    let node = echo_node().await;
    let endpoint = endpoint(&node.url);
    endpoint.batch(&calls(1)).await.unwrap();
    let manners = [
        Manner::Status(429),
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
        node.behave(manner.clone());
        let error = endpoint.batch(&calls(2)).await.unwrap_err();
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
