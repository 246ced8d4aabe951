//! Signing as a plugin meets it, over a node and a store that a test controls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use super::super::fake_node::{FakeNode, Manner, unknown};
use super::super::testing::{FakeStore, a_lease, config, open, withdrawal_of};
use super::*;
use crate::domain::{Withdrawal, WithdrawalStatus};
use crate::store::AccountStore as _;

const PAYEE: &str = "0x52908400098527886E0F7030069857D2E4169EE7";
const CONTRACT: &str = "0x00000000000000000000000000000000000000cc";
const ONE_ETH: &str = "1000000000000000000";

/// A node with 100 ETH and 10 USDT for everyone, at the nonce that the test sets.
async fn node(nonce: &Arc<AtomicU64>) -> FakeNode {
    let nonce = Arc::clone(nonce);
    FakeNode::start(move |method, _| match method {
        "eth_getTransactionCount" => Ok(json!(format!("{:#x}", nonce.load(Ordering::SeqCst)))),
        "eth_getBalance" => Ok(json!("0x56bc75e2d63100000")),
        "eth_call" => Ok(json!(format!("0x{:064x}", 10_000_000))),
        method => unknown(method),
    })
    .await
}

struct Bench {
    node: FakeNode,
    nonce: Arc<AtomicU64>,
    store: Arc<FakeStore>,
    chain: Arc<EvmChain>,
    _folder: tempfile::TempDir,
}

async fn bench(chain_nonce: u64) -> Bench {
    let nonce = Arc::new(AtomicU64::new(chain_nonce));
    let node = node(&nonce).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(FakeStore::default());
    let urls = [node.url.clone()];
    let chain = open(config(folder.path(), "eip155:1", &urls, CONTRACT), &store).await;
    Bench { node, nonce, store, chain, _folder: folder }
}

fn one_eth() -> Withdrawal {
    withdrawal_of("ETH", "eip155:1", "1", PAYEE)
}

fn payment() -> TransactionRequest {
    TransactionRequest {
        chain_id: 1,
        to: PAYEE.into(),
        value: ONE_ETH.into(),
        data: Vec::new(),
        gas_limit: 21_000,
        max_fee_per_gas: "1000".into(),
        max_priority_fee_per_gas: "100".into(),
    }
}

#[tokio::test]
async fn the_first_signature_registers_the_account_and_takes_the_chains_nonce() {
    let bench = bench(7).await;
    let first = bench.store.add(one_eth()).await;
    let signed = bench.chain.sign(a_lease(), first, payment(), false).await.unwrap();
    assert_eq!(signed.nonce, 7);
    assert_eq!(bench.store.transactions(first).await, std::slice::from_ref(&signed));
    assert_eq!(bench.chain.signed(first).await.unwrap(), Some(signed));
    let second = bench.store.add(one_eth()).await;
    let signed = bench.chain.sign(a_lease(), second, payment(), false).await.unwrap();
    assert_eq!(signed.nonce, 8);
    assert_eq!(bench.node.count("eth_getTransactionCount"), 3, "compared, and once a payment");
}

#[tokio::test]
async fn asked_again_it_gives_the_stored_bytes_whatever_is_asked_even_with_all_nodes_away() {
    let bench = bench(0).await;
    let id = bench.store.add(one_eth()).await;
    let signed = bench.chain.sign(a_lease(), id, payment(), false).await.unwrap();
    bench.node.behave(Manner::Status(503));
    let other = TransactionRequest { value: "5".into(), to: CONTRACT.into(), ..payment() };
    let again = bench.chain.sign(a_lease(), id, other, false).await.unwrap();
    assert_eq!(again, signed);
    assert_eq!(bench.store.transactions(id).await.len(), 1);
}

#[tokio::test]
async fn a_replacement_has_the_same_nonce_and_the_fees_that_nodes_want() {
    let bench = bench(3).await;
    let id = bench.store.add(one_eth()).await;
    let first = bench.chain.sign(a_lease(), id, payment(), false).await.unwrap();
    let raised = TransactionRequest {
        max_fee_per_gas: "1125".into(),
        max_priority_fee_per_gas: "113".into(),
        ..payment()
    };
    let short = TransactionRequest { max_priority_fee_per_gas: "112".into(), ..raised.clone() };
    let refused = bench.chain.sign(a_lease(), id, short, true).await.unwrap_err();
    assert!(matches!(refused, SignError::Refused { rule: "replacement.fees", .. }), "{refused}");
    let second = bench.chain.sign(a_lease(), id, raised, true).await.unwrap();
    assert_eq!((first.nonce, second.nonce), (3, 3));
    assert_ne!(first.signed.hash, second.signed.hash);
    assert_eq!(bench.chain.signed(id).await.unwrap(), Some(second));
}

#[tokio::test]
async fn a_refused_request_signs_nothing_and_uses_no_nonce() {
    let bench = bench(0).await;
    let id = bench.store.add(one_eth()).await;
    let thief = TransactionRequest { to: CONTRACT.into(), ..payment() };
    let refused = bench.chain.sign(a_lease(), id, thief, false).await.unwrap_err();
    assert!(matches!(refused, SignError::Refused { rule: "transaction.to", .. }), "{refused}");
    assert!(bench.store.transactions(id).await.is_empty());
    let next = bench.store.add(one_eth()).await;
    assert_eq!(bench.chain.sign(a_lease(), next, payment(), false).await.unwrap().nonce, 0);
}

#[tokio::test]
async fn what_is_in_flight_is_reserved() {
    let bench = bench(0).await;
    let sixty = || withdrawal_of("ETH", "eip155:1", "60", PAYEE);
    let request = TransactionRequest { value: "60000000000000000000".into(), ..payment() };
    let first = bench.store.add(sixty()).await;
    bench.chain.sign(a_lease(), first, request.clone(), false).await.unwrap();
    let second = bench.store.add(sixty()).await;
    let waits = bench.chain.sign(a_lease(), second, request, false).await.unwrap_err();
    assert!(matches!(waits, SignError::Wait { rule: "balance.native", .. }), "{waits}");
}

#[tokio::test]
async fn a_chain_ahead_of_the_store_freezes_the_account_and_says_why() {
    let bench = bench(5).await;
    let account = bench.chain.accounts.iter().next().unwrap().stored();
    bench.store.register_account(1, &account, 4).await.unwrap();
    let id = bench.store.add(one_eth()).await;
    for _ in 0..2 {
        let frozen = bench.chain.sign(a_lease(), id, payment(), false).await.unwrap_err();
        assert!(matches!(frozen, SignError::Wait { rule: "account.frozen", .. }), "{frozen}");
        assert!(frozen.to_string().contains("restored from a backup"), "{frozen}");
    }
    assert!(bench.store.transactions(id).await.is_empty());
    let state = bench.store.state.lock().await;
    assert!(state.accounts[&(1, account)].frozen_reason.is_some());
}

#[tokio::test]
async fn a_store_ahead_of_the_chain_is_what_in_flight_looks_like() {
    let bench = bench(5).await;
    let account = bench.chain.accounts.iter().next().unwrap().stored();
    bench.store.register_account(1, &account, 9).await.unwrap();
    let id = bench.store.add(one_eth()).await;
    let signed = bench.chain.sign(a_lease(), id, payment(), false).await.unwrap();
    assert_eq!(signed.nonce, 9);
    assert_eq!(bench.nonce.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn nothing_is_signed_while_the_balance_cannot_be_read() {
    let bench = bench(0).await;
    let id = bench.store.add(one_eth()).await;
    bench.node.behave(Manner::Silent);
    let away = bench.chain.sign(a_lease(), id, payment(), false).await.unwrap_err();
    assert!(matches!(away, SignError::Unavailable(_)), "{away}");
    bench.node.behave(Manner::Proper);
    // A node that failed is left alone for a moment.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while let Err(error) = bench.chain.sign(a_lease(), id, payment(), false).await {
        assert!(std::time::Instant::now() < deadline, "{error}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_node_of_another_chain_makes_signing_wait() {
    let wrong = FakeNode::start(|_, _| Ok(json!("0x5"))).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(FakeStore::default());
    let urls = [wrong.url.clone()];
    let chain = open(config(folder.path(), "eip155:1", &urls, CONTRACT), &store).await;
    let id = store.add(one_eth()).await;
    let waits = chain.sign(a_lease(), id, payment(), false).await.unwrap_err();
    assert!(matches!(waits, SignError::Wait { rule: "node.chain-id", .. }), "{waits}");
}

#[tokio::test]
async fn the_others_are_read_while_one_node_is_away() {
    let nonce = Arc::new(AtomicU64::new(0));
    let (first, second, third) = (node(&nonce).await, node(&nonce).await, node(&nonce).await);
    first.behave(Manner::Status(502));
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(FakeStore::default());
    let urls = [first.url.clone(), second.url.clone(), third.url.clone()];
    let chain = open(config(folder.path(), "eip155:1", &urls, CONTRACT), &store).await;
    let id = store.add(one_eth()).await;
    chain.sign(a_lease(), id, payment(), false).await.unwrap();
    assert!(second.count("eth_getBalance") > 0 && third.count("eth_getBalance") > 0);
}

#[tokio::test]
async fn unknown_withdrawals_networks_and_assets_are_refused_by_name() {
    let bench = bench(0).await;
    let unknown = bench.chain.sign(a_lease(), WithdrawalId::generate(), payment(), false).await;
    assert!(matches!(unknown, Err(SignError::Refused { rule: "event.live", .. })));
    let elsewhere = bench.store.add(withdrawal_of("ETH", "eip155:5", "1", PAYEE)).await;
    let refused = bench.chain.sign(a_lease(), elsewhere, payment(), false).await;
    assert!(matches!(refused, Err(SignError::Refused { rule: "withdrawal.network", .. })));
    let other = bench.store.add(withdrawal_of("DOGE", "eip155:1", "1", PAYEE)).await;
    let refused = bench.chain.sign(a_lease(), other, payment(), false).await;
    assert!(matches!(refused, Err(SignError::Refused { rule: "withdrawal.asset", .. })));
    assert_eq!(bench.store.status(other).await, WithdrawalStatus::Requested);
}

#[tokio::test]
async fn terms_and_requests_are_judged_without_asking_anyone() {
    let bench = bench(0).await;
    let terms = bench.chain.terms(None, "USDT").await.unwrap();
    assert_eq!((terms.chain_id, terms.decimals), (1, 6));
    assert_eq!(terms.contract.as_deref(), Some(CONTRACT));
    assert_eq!(terms.account, bench.chain.accounts().next().unwrap());
    assert!(bench.chain.terms(None, "DOGE").await.is_err());
    let field = |asset: &str, amount: &str| {
        let amount = amount.parse().unwrap();
        bench.chain.validate_request(asset, &amount).err().map(|error| error.field)
    };
    assert_eq!(field("USDT", "0.000001"), None);
    assert_eq!(field("USDT", "0.0000001"), Some("amount"));
    assert_eq!(field("ETH", &"9".repeat(78)), Some("amount"));
    assert_eq!(field("DOGE", "1"), Some("asset"));
    assert_eq!(bench.node.calls.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_wrong_configuration_names_its_field() {
    use crate::chain::{AccountConfig, Asset, ChainError, Chains, NetworkConfig};
    let folder = tempfile::tempdir().unwrap();
    let good = config(folder.path(), "eip155:1", &["http://127.0.0.1:1".into()], CONTRACT);
    let token = |contract: &str| Asset::Erc20 { contract: contract.into(), decimals: 6 };
    let field = |edit: &dyn Fn(&mut NetworkConfig)| {
        let mut config = good.clone();
        edit(&mut config);
        let store: Arc<dyn crate::store::ChainStore> = Arc::new(FakeStore::default());
        async move {
            match Chains::open(vec![config], store).await {
                Ok(_) => "open",
                Err(ChainError::Config { field, .. }) => field,
                Err(ChainError::Keystore { .. }) => "keystore",
                Err(ChainError::RemoteSigner { .. }) => "remote_signer",
                Err(ChainError::Rpc(_) | ChainError::Store(_)) => "other",
            }
        }
    };
    // An unreachable node is no reason not to start.
    assert_eq!(field(&|_| {}).await, "open");
    for network in
        ["cosmos:hub", "eip155:x", "eip155:0", "eip155:01", "eip155:99999999999999999999"]
    {
        assert_eq!(field(&|c| c.network = network.parse().unwrap()).await, "network", "{network}");
    }
    assert_eq!(field(&|c| c.depth = 0).await, "depth");
    assert_eq!(field(&|c| c.rpc_urls.clear()).await, "rpc_urls");
    assert_eq!(field(&|c| c.rpc_urls = vec!["ftp://x".parse().unwrap()]).await, "rpc_urls");
    assert_eq!(field(&|c| c.rpc_timeout = std::time::Duration::ZERO).await, "rpc_timeout");
    assert_eq!(field(&|c| c.fees.gas_limit_max = 20_999).await, "gas_limit_max");
    assert_eq!(field(&|c| c.assets.clear()).await, "assets");
    assert_eq!(field(&|c| c.accounts.clear()).await, "accounts");
    assert_eq!(field(&|c| c.accounts.push(c.accounts[0].clone())).await, "accounts");
    assert_eq!(field(&|c| c.in_flight_max = 0).await, "in_flight_max");
    let bad_checksum = "0x52908400098527886E0F7030069857D2E4169Ee7";
    for contract in ["", "0x12", "0x0000000000000000000000000000000000000000", bad_checksum] {
        let edit = |c: &mut NetworkConfig| drop(c.assets.insert("T".into(), token(contract)));
        assert_eq!(field(&edit).await, "assets", "{contract}");
    }
    let lost = AccountConfig::Keystore {
        path: folder.path().join("no"),
        passphrase: crate::chain::Passphrase::new("test".into()),
    };
    assert_eq!(field(&|c| c.accounts[0] = lost.clone()).await, "keystore");
    let remote = crate::chain::RemoteSignerConfig {
        url: "http://signer.example".parse().unwrap(),
        public_key: "0x02".into(),
        ca_file: None,
        client: None,
        timeout: std::time::Duration::from_secs(1),
    };
    let remote = AccountConfig::Remote(remote);
    assert_eq!(field(&|c| c.accounts[0] = remote.clone()).await, "remote_signer");
    let twice = Chains::open(vec![good.clone(), good], Arc::new(FakeStore::default())).await;
    assert!(matches!(twice, Err(ChainError::Config { field: "network", .. })));
}

/// A second account beside the first, in the order of the configuration.
async fn two_accounts(in_flight_max: u64) -> Bench {
    let nonce = Arc::new(AtomicU64::new(0));
    let node = node(&nonce).await;
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Arc::new(FakeStore::default());
    let urls = [node.url.clone()];
    let second = config(other.path(), "eip155:1", &urls, CONTRACT).accounts;
    let mut config = config(folder.path(), "eip155:1", &urls, CONTRACT);
    config.accounts.extend(second);
    config.spread = crate::chain::Spread::InOrder;
    config.in_flight_max = in_flight_max;
    let chain = open(config, &store).await;
    Bench { node, nonce, store, chain, _folder: folder }
}

#[tokio::test]
async fn an_account_has_so_many_in_flight_and_no_more() {
    let bench = two_accounts(2).await;
    let mut accounts = Vec::new();
    for _ in 0..4 {
        let id = bench.store.add(one_eth()).await;
        let signed = bench.chain.sign(a_lease(), id, payment(), false).await.unwrap();
        accounts.push((signed.account, signed.nonce));
    }
    let [first, second] = [0, 2].map(|i: usize| accounts[i].0.clone());
    assert_ne!(first, second);
    let expected = [(&first, 0), (&first, 1), (&second, 0), (&second, 1)];
    assert_eq!(accounts.iter().map(|(a, n)| (a, *n)).collect::<Vec<_>>(), expected);
    let fifth = bench.store.add(one_eth()).await;
    let waits = bench.chain.sign(a_lease(), fifth, payment(), false).await.unwrap_err();
    assert!(matches!(waits, SignError::Wait { rule: "account.in-flight", .. }), "{waits}");
    // One is mined: there is room again.
    bench.nonce.store(1, Ordering::SeqCst);
    let signed = bench.chain.sign(a_lease(), fifth, payment(), false).await.unwrap();
    assert_eq!((signed.account, signed.nonce), (first, 2));
}

#[tokio::test]
async fn an_account_that_cannot_pay_is_passed_over_and_a_bound_withdrawal_stays() {
    let bench = two_accounts(100).await;
    let bound = bench.store.add(one_eth()).await;
    let signed = bench.chain.sign(a_lease(), bound, payment(), false).await.unwrap();
    let change =
        AccountChange { chain_id: 1, address: &signed.account, reason: "a test", by: "a test" };
    bench.store.freeze_account(change).await.unwrap();
    let next = bench.store.add(one_eth()).await;
    let terms = bench.chain.terms(Some(next), "ETH").await.unwrap();
    let other = bench.chain.sign(a_lease(), next, payment(), false).await.unwrap();
    assert_ne!(other.account, signed.account);
    assert_eq!(terms.account.to_lowercase(), other.account);
    let terms = bench.chain.terms(Some(bound), "ETH").await.unwrap();
    assert_eq!(terms.account.to_lowercase(), signed.account);
    assert_eq!(bench.store.transactions(bound).await.len(), 1);
}
