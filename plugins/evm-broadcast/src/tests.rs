use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use serde_json::{Value, json};
use tidegate_plugin::{
    Chain, Event, Failure, Handler, Proposal, Receipt, Transition, defer,
    log::Level,
    signer::{PaymentTerms, SignError, SignedTransaction},
    testing::{self, FakeHost, Reply, SentRequest},
};

use super::{EvmBroadcast, WAIT};

const NETWORK: &str = "eip155:31337";
const NODE_A: &str = "http://node-a.example/key-a";
const NODE_B: &str = "http://node-b.example/key-b";
const ACCOUNT: &str = "0x8617E340B3D01FA5F11F306F4090FD50E238070D";
const CONTRACT: &str = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359";
const DESTINATION: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

/// Nodes that answer by method; `raw` is what each says to a transaction, in turn, the last for ever.
#[derive(Clone)]
struct Nodes(Rc<RefCell<BTreeMap<String, Vec<Reply>>>>);

impl Nodes {
    fn say(&self, method: &str, reply: Reply) -> &Self {
        self.0.borrow_mut().entry(method.into()).or_default().push(reply);
        self
    }
}

fn result(value: impl Into<Value>) -> Reply {
    let value: Value = value.into();
    Reply::json(200, json!({ "jsonrpc": "2.0", "id": 1, "result": value }))
}

fn refusal(text: &str) -> Reply {
    Reply::json(
        200,
        json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32000, "message": text } }),
    )
}

fn terms(contract: Option<&str>, decimals: u8) -> PaymentTerms {
    PaymentTerms {
        chain_id: 31337,
        account: ACCOUNT.into(),
        contract: contract.map(Into::into),
        decimals,
    }
}

fn setup(urls: &[&str]) -> (FakeHost, Nodes) {
    let host = FakeHost::new();
    host.settings(json!({ "rpc_urls": { NETWORK: urls } }))
        .terms(NETWORK, "ETH", terms(None, 18))
        .terms(NETWORK, "USDC", terms(Some(CONTRACT), 6));
    let nodes = Nodes(Rc::default());
    let script = nodes.clone();
    host.respond(move |request| Some(answer(&mut script.0.borrow_mut(), request)));
    (host, nodes)
}

/// What the test scripted; else a node in good health.
fn answer(script: &mut BTreeMap<String, Vec<Reply>>, request: &SentRequest) -> Reply {
    let call: Value = request.json();
    let method = call["method"].as_str().unwrap_or_default();
    if let Some(replies) = script.get_mut(method) {
        return if replies.len() > 1 { replies.remove(0) } else { replies[0].clone() };
    }
    match method {
        "eth_feeHistory" => result(
            json!({ "baseFeePerGas": ["0x3b9aca00", "0x3b9aca00"], "reward": [["0x77359400"]] }),
        ),
        "eth_estimateGas" => result(json!("0x5208")),
        // Only the signer's fake knows the hash, and it cannot be asked from in here.
        "eth_sendRawTransaction" => refusal("already known"),
        "eth_getTransactionReceipt" => result(Value::Null),
        "eth_getTransactionByHash" => result(json!({ "hash": call["params"][0] })),
        other => panic!("the node was asked {other}"),
    }
}

fn event(asset: &str, amount: &str) -> Event {
    testing::event(
        "BLOCKCHAIN_BROADCAST_REQUESTED",
        json!({
            "withdrawal_id": "01949dc5-8000-7000-8000-000000000001", "user_id": "u-1", "asset": asset,
            "network": NETWORK, "amount": amount, "destination_address": DESTINATION,
            "status": "REQUESTED", "tx_hash": null, "failure_reason": null,
            "requested_at": "2026-01-01T00:00:00Z", "broadcasted_at": null, "confirmed_at": null,
        }),
    )
}

fn handle() -> Result<Receipt, Failure> {
    EvmBroadcast::handle(&event("ETH", "1.5"))
}

fn calls(host: &FakeHost, method: &str) -> Vec<SentRequest> {
    host.requests().into_iter().filter(|it| it.json::<Value>()["method"] == method).collect()
}

fn sent(host: &FakeHost) -> Vec<String> {
    calls(host, "eth_sendRawTransaction")
        .iter()
        .map(|request| request.json::<Value>()["params"][0].as_str().unwrap().to_string())
        .collect()
}

fn earlier() -> SignedTransaction {
    SignedTransaction {
        raw: vec![0x02, 0xab],
        hash: format!("0x{}", "ab".repeat(32)),
        nonce: 7,
        gas_limit: 21_000,
        max_fee_per_gas: "1000".into(),
        max_priority_fee_per_gas: "10".into(),
    }
}

fn retried(verdict: Result<Receipt, Failure>) -> String {
    match verdict {
        Err(Failure::Retry { reason, after: None }) => reason,
        other => panic!("{other:?}"),
    }
}

fn rejected(verdict: Result<Receipt, Failure>) -> String {
    match verdict {
        Err(Failure::Reject(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_native_coin_is_sent_as_value() {
    let (host, _) = setup(&[NODE_A]);

    let receipt = handle().unwrap();

    let [request] = &host.sign_requests()[..] else { panic!("one signature") };
    let transaction = &request.transaction;
    assert!(!request.replacement);
    assert_eq!(transaction.chain_id, 31337);
    assert_eq!(transaction.to, DESTINATION);
    assert_eq!(transaction.value, "1500000000000000000");
    assert!(transaction.data.is_empty());
    assert_eq!(transaction.gas_limit, 21_000);
    assert_eq!(transaction.max_fee_per_gas, "4000000000");
    assert_eq!(transaction.max_priority_fee_per_gas, "2000000000");

    let signed = host.last_signed().unwrap();
    assert_eq!(sent(&host), [super::rpc::hex(&signed.raw)]);
    assert_eq!(receipt.transition, Some(Transition::Broadcasted));
    assert_eq!(
        serde_json::from_str::<Value>(&receipt.detail.unwrap()).unwrap(),
        json!({ "tx_hash": signed.hash, "nonce": 7, "node": "http://node-a.example" }),
    );
}

#[test]
fn a_token_is_sent_by_its_contract() {
    let (host, nodes) = setup(&[NODE_A]);
    nodes.say("eth_estimateGas", result(json!("0xc350")));

    EvmBroadcast::handle(&event("USDC", "12.5")).unwrap();

    let transaction = &host.sign_requests()[0].transaction;
    assert_eq!((transaction.to.as_str(), transaction.value.as_str()), (CONTRACT, "0"));
    assert_eq!(
        super::rpc::hex(&transaction.data),
        "0xa9059cbb0000000000000000000000005aaeb6053f3e94c9b9a09f33669435e7ef1beaed\
         0000000000000000000000000000000000000000000000000000000000bebc20",
    );
    assert_eq!(transaction.gas_limit, 60_000, "the estimate and a fifth");
    let estimate = calls(&host, "eth_estimateGas")[0].json::<Value>();
    assert_eq!(estimate["params"][0]["from"], ACCOUNT);
    assert_eq!(estimate["params"][0]["value"], "0x0");
}

#[test]
fn a_node_that_answers_the_hash_has_accepted() {
    let (host, nodes) = setup(&[NODE_A]);
    host.signed(earlier());
    nodes.say("eth_sendRawTransaction", result(json!(earlier().hash)));
    assert!(handle().is_ok());
}

#[test]
fn another_hash_is_no_acceptance() {
    let (host, nodes) = setup(&[NODE_A]);
    host.signed(earlier());
    nodes.say("eth_sendRawTransaction", result(json!(format!("0x{}", "cd".repeat(32)))));
    assert!(retried(handle()).contains("another hash"));
}

#[test]
fn what_is_signed_already_is_sent_again_byte_for_byte() {
    let (host, _) = setup(&[NODE_A, NODE_B]);
    host.signed(earlier());
    assert!(handle().is_ok());
    assert!(host.sign_requests().is_empty());
    assert_eq!(sent(&host), ["0x02ab", "0x02ab"], "to every node");
    assert!(calls(&host, "eth_feeHistory").is_empty());
}

#[test]
fn one_node_that_takes_it_is_enough() {
    let (host, nodes) = setup(&[NODE_A, NODE_B]);
    host.signed(earlier());
    nodes
        .say("eth_sendRawTransaction", Reply::connection_refused())
        .say("eth_sendRawTransaction", refusal("ALREADY_EXISTS: already known"));
    let detail = handle().unwrap().detail.unwrap();
    assert!(detail.contains("http://node-b.example"), "{detail}");
}

#[test]
fn silence_is_answered_with_the_same_bytes_next_time() {
    for reply in [
        Reply::timed_out(),
        Reply::reset(),
        Reply::connection_refused(),
        Reply::status(502),
        Reply::text(429, "slow down"),
        Reply::text(200, "<html>"),
        refusal("the moon is full"),
        refusal("execution reverted: already known"),
    ] {
        let (host, nodes) = setup(&[NODE_A]);
        nodes.say("eth_sendRawTransaction", reply);
        retried(handle());
        let first = host.last_signed().unwrap();
        retried(handle());
        assert_eq!(host.last_signed(), Some(first));
        assert_eq!(sent(&host)[0], sent(&host)[1]);
    }
}

#[test]
fn a_used_nonce_is_done_only_with_our_receipt() {
    let (host, nodes) = setup(&[NODE_A, NODE_B]);
    host.signed(earlier());
    nodes.say("eth_sendRawTransaction", refusal("nonce too low: next nonce 8, tx nonce 7"));
    assert!(retried(handle()).contains("no node shows a receipt"));

    nodes.say("eth_getTransactionReceipt", refusal("transaction indexing is in progress")).say(
        "eth_getTransactionReceipt",
        result(json!({ "transactionHash": earlier().hash.to_uppercase().replace("0X", "0x") })),
    );
    let receipt = handle().unwrap();
    assert_eq!(receipt.transition, Some(Transition::Broadcasted));
    assert!(receipt.detail.unwrap().contains("http://node-b.example"));
}

#[test]
fn a_receipt_of_another_transaction_proves_nothing() {
    let (host, nodes) = setup(&[NODE_A]);
    host.signed(earlier());
    nodes
        .say("eth_sendRawTransaction", refusal("nonce too low"))
        .say("eth_getTransactionReceipt", result(json!({ "transactionHash": "0x01" })));
    retried(handle());
}

#[test]
fn what_must_wait_is_deferred_and_says_why() {
    for text in ["insufficient funds for gas * price + value", "txpool is full", "node is syncing"]
    {
        let (host, nodes) = setup(&[NODE_A]);
        host.signed(earlier());
        nodes.say("eth_sendRawTransaction", refusal(text));
        assert_eq!(handle(), Err(defer(WAIT)));
        let lines = host.lines();
        assert!(lines.iter().any(|(level, line)| *level == Level::Info && line.contains(text)));
    }
}

#[test]
fn a_low_fee_is_raised_at_once_at_the_same_nonce() {
    let (host, nodes) = setup(&[NODE_A]);
    host.signed(earlier());
    nodes
        .say("eth_sendRawTransaction", refusal("replacement transaction underpriced"))
        .say("eth_sendRawTransaction", refusal("already known"))
        .say("eth_feeHistory", result(json!({ "baseFeePerGas": ["0x1"], "reward": [] })));

    let receipt = handle().unwrap();

    let [request] = &host.sign_requests()[..] else { panic!("one signature") };
    assert!(request.replacement);
    assert_eq!(request.transaction.value, "1500000000000000000");
    assert_eq!(request.transaction.gas_limit, 21_000);
    let replacement = host.last_signed().unwrap();
    assert_eq!(replacement.nonce, 7);
    assert_ne!(replacement.hash, earlier().hash);
    assert!(receipt.detail.unwrap().contains(&replacement.hash));
    assert_eq!(sent(&host).len(), 2);
}

#[test]
fn fees_are_raised_even_if_the_market_cannot_be_asked() {
    let (host, nodes) = setup(&[NODE_A]);
    host.signed(earlier());
    nodes
        .say("eth_sendRawTransaction", refusal("transaction underpriced"))
        .say("eth_sendRawTransaction", refusal("already known"))
        .say("eth_feeHistory", refusal("method not found"));
    assert!(handle().is_ok());
    let transaction = &host.sign_requests()[0].transaction;
    assert_eq!(transaction.max_fee_per_gas, "1125");
    assert_eq!(transaction.max_priority_fee_per_gas, "12");
}

#[test]
fn fees_that_are_too_low_twice_wait_for_the_next_attempt() {
    let (host, nodes) = setup(&[NODE_A]);
    host.signed(earlier());
    nodes.say("eth_sendRawTransaction", refusal("transaction underpriced"));
    assert!(retried(handle()).contains("still too low"));
    assert_eq!(host.sign_requests().len(), 1);
}

#[test]
fn a_replacement_that_is_not_signed_is_never_the_end() {
    for (error, verdict) in [
        (SignError::Wait("the fee cap is reached".into()), defer(WAIT)),
        (
            SignError::Refused("the fees rise by less than an eighth".into()),
            tidegate_plugin::retry(
                "the host refuses to sign: the fees rise by less than an eighth",
            ),
        ),
        (
            SignError::Unavailable("the store".into()),
            tidegate_plugin::retry("the signer cannot be reached: the store"),
        ),
    ] {
        let (host, nodes) = setup(&[NODE_A]);
        host.signed(earlier()).fail_sign(error);
        nodes.say("eth_sendRawTransaction", refusal("transaction underpriced"));
        assert_eq!(handle(), Err(verdict));
    }
}

#[test]
fn bytes_that_are_known_but_shown_by_no_node_are_sent_again() {
    let (host, nodes) = setup(&[NODE_A, NODE_B]);
    host.signed(earlier());
    nodes.say("eth_getTransactionByHash", result(Value::Null));
    assert_eq!(handle(), Err(defer(WAIT)));
    assert_eq!(calls(&host, "eth_getTransactionByHash").len(), 2);
    assert!(host.sign_requests().is_empty());
}

#[test]
fn new_words_are_told_to_the_operator_and_answered_with_the_same_bytes() {
    let (host, nodes) = setup(&[NODE_A]);
    host.signed(earlier());
    nodes.say("eth_sendRawTransaction", refusal("the moon is full"));
    retried(handle());
    let notice = (
        Level::Warn,
        "notice unknown-answer: http://node-a.example refused a transaction in new words: \
         the moon is full"
            .to_owned(),
    );
    assert!(host.lines().contains(&notice), "{:?}", host.lines());
    assert_eq!(sent(&host), ["0x02ab"]);
    // What the table knows is no news.
    nodes.0.borrow_mut().insert("eth_sendRawTransaction".into(), vec![refusal("rate limit")]);
    let before = host.lines().len();
    retried(handle());
    assert!(host.lines()[before..].iter().all(|(_, line)| !line.starts_with("notice")));
}

#[test]
fn of_several_answers_the_one_that_knows_most_decides() {
    for (first, second, decided) in [
        ("txpool is full", "already known", "accepted"),
        ("nonce too low", "already known", "accepted"),
        ("insufficient funds", "nonce too low", "no node shows a receipt"),
        ("nonce too high", "invalid sender", "needs a person"),
        ("the moon is full", "txpool is full", "deferred"),
    ] {
        for texts in [[first, second], [second, first]] {
            let (host, nodes) = setup(&[NODE_A, NODE_B]);
            host.signed(earlier());
            for text in texts {
                nodes.say("eth_sendRawTransaction", refusal(text));
            }
            let said = match handle() {
                Ok(_) => "accepted".to_owned(),
                Err(Failure::Retry { reason, .. }) => reason,
                Err(other) => {
                    assert_eq!(other, defer(WAIT));
                    "deferred".to_owned()
                }
            };
            assert!(said.contains(decided), "{texts:?}: {said}");
        }
    }
}

#[test]
fn a_nonce_above_a_gap_costs_no_attempt() {
    let (host, nodes) = setup(&[NODE_A]);
    host.signed(earlier());
    nodes.say("eth_sendRawTransaction", refusal("nonce too high: address 0x1, tx: 7 state: 5"));
    assert_eq!(handle(), Err(defer(WAIT)));
    assert!(host.sign_requests().is_empty());
}

#[test]
fn a_nonce_that_was_never_used_here_and_is_held_is_a_strangers() {
    let (host, nodes) = setup(&[NODE_A]);
    nodes.say("eth_sendRawTransaction", refusal("replacement transaction underpriced"));
    for _ in 0..2 {
        assert!(retried(handle()).contains("not signed here"));
    }
    assert_eq!(host.sign_requests().len(), 1, "nothing was bid against it");
    assert!(host.lines().iter().any(|(_, line)| line.starts_with("notice needs-person")));
}

/// What the host writes when a payment was not mined in time.
fn again() -> Event {
    let mut event = event("ETH", "1.5");
    let mut payload: Value = event.payload().unwrap();
    payload["status"] = json!("BROADCASTED");
    event.raw_payload = payload.to_string();
    event.created_at_ms = 1_000_000;
    event
}

/// A payment with nonce 7 that waits; the account's next nonce, and when the fifth block below the
/// head came, in seconds.
fn waits(next_nonce: &str, time_s: u64) -> (FakeHost, Nodes) {
    let (host, nodes) = setup(&[NODE_A]);
    host.signed(earlier());
    nodes
        .say("eth_feeHistory", result(json!({ "baseFeePerGas": ["0x1"], "reward": [] })))
        .say("eth_getTransactionCount", result(json!(next_nonce)))
        .say("eth_blockNumber", result(json!("0x64")))
        .say("eth_getBlockByNumber", result(json!({ "timestamp": format!("{time_s:#x}") })));
    (host, nodes)
}

#[test]
fn fees_are_raised_after_so_many_blocks() {
    let (host, _) = waits("0x7", 999);
    assert_eq!(EvmBroadcast::handle(&again()), Err(defer(WAIT)), "not yet");
    assert!(host.sign_requests().is_empty());
    assert_eq!(calls(&host, "eth_getBlockByNumber")[0].json::<Value>()["params"][0], "0x5f");

    let (host, _) = waits("0x7", 1_000);
    let receipt = EvmBroadcast::handle(&again()).unwrap();
    let transaction = &host.sign_requests()[0].transaction;
    // The least priority fee is more than an eighth above the old one.
    assert_eq!(transaction.max_priority_fee_per_gas, "1000000");
    assert!(receipt.detail.unwrap().contains(&host.last_signed().unwrap().hash));
}

#[test]
fn nothing_is_raised_that_is_not_next_or_mined_or_new() {
    let (host, _) = waits("0x5", 1_000);
    assert!(EvmBroadcast::handle(&again()).is_ok(), "lower nonces come first");
    assert!(host.sign_requests().is_empty());

    let (host, nodes) = waits("0x7", 1_000);
    let mined = result(json!({ "transactionHash": earlier().hash }));
    nodes.say("eth_getTransactionReceipt", mined);
    assert!(EvmBroadcast::handle(&again()).is_ok());
    assert!(host.sign_requests().is_empty());

    let (host, _) = waits("0x7", 1_000);
    assert!(handle().is_ok(), "the host did not ask for it again");
    assert!(host.sign_requests().is_empty());

    for settings in
        [json!({ "bump_after_blocks": 0 }), json!({ "profiles": { NETWORK: "no_pool" } })]
    {
        let (host, _) = waits("0x7", 1_000);
        let mut all = json!({ "rpc_urls": { NETWORK: [NODE_A] } });
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        host.settings(all);
        assert!(EvmBroadcast::handle(&again()).is_ok());
        assert!(host.sign_requests().is_empty());
    }
}

#[test]
fn at_the_cap_the_operator_hears_of_it_if_that_is_wanted() {
    for (setting, told) in [("wait", false), ("tell", true)] {
        let (host, nodes) = setup(&[NODE_A]);
        host.settings(json!({ "rpc_urls": { NETWORK: [NODE_A] }, "at_fee_cap": setting }));
        host.signed(earlier())
            .fail_sign(SignError::Wait("not now (fee-cap.per-gas): 9 is above 8".into()));
        nodes.say("eth_sendRawTransaction", refusal("transaction underpriced"));
        assert_eq!(handle(), Err(defer(WAIT)));
        let heard = host.lines().iter().any(|(_, line)| line.starts_with("notice fee-cap: "));
        assert_eq!(heard, told);
    }
}

#[test]
fn too_little_gas_is_repaired_at_the_same_nonce() {
    let (host, nodes) = setup(&[NODE_A]);
    host.signed(earlier());
    nodes
        .say("eth_sendRawTransaction", refusal("intrinsic gas too low"))
        .say("eth_sendRawTransaction", refusal("already known"))
        .say("eth_estimateGas", result(json!("0x186a0")));
    let receipt = handle().unwrap();
    let request = &host.sign_requests()[0];
    assert!(request.replacement);
    assert_eq!(request.transaction.gas_limit, 120_000, "the estimate and a fifth");
    assert!(receipt.detail.unwrap().contains(&host.last_signed().unwrap().hash));
}

#[test]
fn what_can_never_be_valid_is_retried_with_the_nodes_words() {
    let (host, nodes) = setup(&[NODE_A]);
    host.signed(earlier());
    nodes.say("eth_sendRawTransaction", refusal("intrinsic gas too low"));
    assert!(retried(handle()).contains("intrinsic gas too low"));
    assert!(host.lines().iter().any(|(_, line)| line.starts_with("notice cannot-be-valid")));
}

#[test]
fn what_needs_a_person_is_retried_and_logged_as_an_error() {
    let (host, nodes) = setup(&[NODE_A]);
    host.signed(earlier());
    nodes.say("eth_sendRawTransaction", refusal("invalid sender"));
    assert!(retried(handle()).contains("needs a person"));
    assert_eq!(host.lines()[0].0, Level::Error);
}

#[test]
fn a_first_signature_that_fails_says_what_to_do() {
    for (error, verdict) in [
        (
            SignError::Refused("not the withdrawal's amount".into()),
            tidegate_plugin::reject("the host refuses to sign: not the withdrawal's amount"),
        ),
        (
            SignError::Denied("eip155:31337".into()),
            tidegate_plugin::reject("the network is not granted: eip155:31337"),
        ),
        (SignError::Wait("the account is frozen".into()), defer(WAIT)),
        (
            SignError::Unavailable("the key".into()),
            tidegate_plugin::retry("the signer cannot be reached: the key"),
        ),
    ] {
        let (host, _) = setup(&[NODE_A]);
        host.fail_sign(error);
        assert_eq!(handle(), Err(verdict));
        assert!(sent(&host).is_empty());
    }
}

#[test]
fn an_asset_without_terms_is_rejected() {
    let (host, _) = setup(&[NODE_A]);
    assert!(rejected(EvmBroadcast::handle(&event("DOGE", "1"))).contains("DOGE"));
    assert!(host.requests().is_empty());
}

#[test]
fn an_amount_that_cannot_be_paid_exactly_is_rejected() {
    let (host, _) = setup(&[NODE_A]);
    assert!(
        rejected(EvmBroadcast::handle(&event("USDC", "1.0000001")))
            .contains("more than 6 decimals")
    );
    for amount in ["0", "-1", "1e18", ""] {
        rejected(EvmBroadcast::handle(&event("ETH", amount)));
    }
    assert!(host.sign_requests().is_empty());
}

#[test]
fn nothing_is_signed_while_fees_and_gas_are_not_known() {
    for (method, reply) in [
        ("eth_feeHistory", Reply::timed_out()),
        ("eth_feeHistory", result(json!({}))),
        ("eth_estimateGas", Reply::connection_refused()),
        ("eth_estimateGas", refusal("execution reverted: transfer amount exceeds balance")),
        ("eth_estimateGas", result(json!("many"))),
    ] {
        let (host, nodes) = setup(&[NODE_A]);
        nodes.say(method, reply);
        assert!(retried(handle()).contains(method));
        assert!(host.sign_requests().is_empty());
    }
}

#[test]
fn an_account_without_funds_costs_no_attempt() {
    let (host, nodes) = setup(&[NODE_A]);
    nodes.say("eth_estimateGas", refusal("insufficient funds for transfer"));
    assert_eq!(handle(), Err(defer(WAIT)));
    assert!(host.sign_requests().is_empty());
}

#[test]
fn the_next_node_is_asked_where_one_is_down() {
    let (host, nodes) = setup(&[NODE_A, NODE_B]);
    nodes
        .say("eth_estimateGas", Reply::connection_refused())
        .say("eth_estimateGas", result(json!("0x5208")));
    assert!(handle().is_ok());
    assert_eq!(calls(&host, "eth_estimateGas").len(), 2);
}

#[test]
fn the_words_that_a_provider_wraps_are_found() {
    let (host, nodes) = setup(&[NODE_A]);
    host.signed(earlier());
    nodes.say("eth_sendRawTransaction", Reply::json(200, json!({
        "error": { "code": -32603, "message": "Internal error", "data": { "message": "already known" } },
    })));
    assert!(handle().is_ok());
}

#[test]
fn a_reason_names_the_node_and_not_its_key() {
    let (host, nodes) = setup(&[NODE_A]);
    host.signed(earlier());
    nodes.say("eth_sendRawTransaction", Reply::timed_out());
    let reason = retried(handle());
    assert!(reason.contains("http://node-a.example") && !reason.contains("key-a"), "{reason}");
}

#[test]
fn a_network_without_nodes_waits_for_the_operator() {
    let (host, _) = setup(&[]);
    assert!(retried(handle()).contains("rpc_urls names no node for eip155:31337"));
    assert!(host.requests().is_empty());
}

fn validate(network: &str, destination: &str) -> Result<(), String> {
    EvmBroadcast::validate(&Proposal {
        network: network.into(),
        asset: "ETH".into(),
        amount: "1".into(),
        destination: destination.into(),
    })
}

#[test]
fn a_destination_is_judged_before_anything_is_written() {
    setup(&[NODE_A]);
    assert_eq!(validate(NETWORK, DESTINATION), Ok(()));
    assert_eq!(validate(NETWORK, &DESTINATION.to_lowercase()), Ok(()));
    assert_eq!(validate(NETWORK, &DESTINATION.to_uppercase().replace("0X", "0x")), Ok(()));
    for (network, destination, word) in [
        ("solana:1", DESTINATION, "not an EVM network"),
        ("eip155:x", DESTINATION, "not an EVM network"),
        ("eip155:5", DESTINATION, "not served"),
        (NETWORK, "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaed", "EIP-55"),
        (NETWORK, "0x0000000000000000000000000000000000000000", "zero address"),
        (NETWORK, "0x123", "40 hexadecimal digits"),
        (NETWORK, "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed00", "40 hexadecimal digits"),
        (NETWORK, "0xZZAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "40 hexadecimal digits"),
        (NETWORK, "", "40 hexadecimal digits"),
    ] {
        let text = validate(network, destination).unwrap_err();
        assert!(text.contains(word), "{network} {destination}: {text}");
    }
}
