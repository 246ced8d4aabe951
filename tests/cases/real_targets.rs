//! Real counterparts: anvil as the chain, `nats-server` as the broker, SQLite and Postgres below.

use std::time::Duration;

use alloy_primitives::U256;
use tidegate_tests::anvil::Anvil;
use tidegate_tests::bench::partner_beside;
use tidegate_tests::installation::{Installation, PARTNER_KEY};
use tidegate_tests::machine;
use tidegate_tests::manifest::{Manifest, evm_broadcast, partner_sync};
use tidegate_tests::nats::Nats;
use tidegate_tests::oracle::{assert_partner_knows, assert_published_once};
use tidegate_tests::order::{NETWORK, Order};
use tidegate_tests::partner::Partner;
use tidegate_tests::postgres::Postgres;
use tidegate_tests::process::Signal;

const CONFIRMED_WITHIN: Duration = Duration::from_secs(60);
const TOKENS: u64 = 1_000_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_real_node_and_broker_coins_and_tokens_arrive_exactly_with_sqlite_below() {
    let _shared = machine::shared().await;
    pays_and_publishes(Installation::new().with_sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_real_node_and_broker_coins_and_tokens_arrive_exactly_with_postgres_below() {
    let _shared = machine::shared().await;
    let installation = Installation::new();
    let Some(postgres) = Postgres::start(installation.path()).await else { return };
    let store = format!("[store]\nurl = \"{}\"", postgres.url);
    pays_and_publishes(installation.with(&store)).await;
}

async fn pays_and_publishes(installation: Installation) {
    let Some(anvil) = Anvil::start(installation.path()).await else { return };
    let Some(nats) = Nats::start(installation.path()).await else { return };
    // Of the stand-ins only the partner is used.
    let stand_ins = partner_beside(&installation).await;
    anvil.fund(installation.account()).await;
    let token = anvil.deploy_token(installation.account(), TOKENS).await;
    let node = anvil.node.clone();
    let installation = installation
        .with_network(NETWORK, node.url(), &token)
        .with(&format!("[broker]\nkind = \"nats\"\nurl = \"{}\"", nats.url));
    installation.add(&evm_broadcast(NETWORK, node.url())).await;
    installation.add(&partner_sync(&stand_ins.partner_url)).await;
    installation.add(&Manifest::shipped("event-publish")).await;
    let (mut host, api) = installation.serve().await;

    let coins = [Order::number(1), Order::number(2)];
    let tokens = [Order::number(3).of("USDC"), Order::number(4).of("USDC")];
    let mut ids = Vec::new();
    for order in coins.iter().chain(&tokens) {
        ids.push(api.submit(order).await);
    }
    for id in &ids {
        api.reaches(id, "CONFIRMED", CONFIRMED_WITHIN).await;
    }
    api.all_done(ids.len(), CONFIRMED_WITHIN).await;

    let units = |order: &Order, decimals| order.units(decimals).parse::<U256>().unwrap();
    for order in &coins {
        assert_eq!(node.balance(&order.destination).await, units(order, 18), "{order:?}");
        assert_eq!(node.token_balance(&token, &order.destination).await, U256::ZERO);
    }
    for order in &tokens {
        let received = node.token_balance(&token, &order.destination).await;
        assert_eq!(received, units(order, 6), "{order:?}");
        assert_eq!(node.balance(&order.destination).await, U256::ZERO, "{order:?}");
    }
    let paid: U256 = tokens.iter().map(|order| units(order, 6)).sum();
    let left = node.token_balance(&token, installation.account()).await;
    assert_eq!(left, U256::from(TOKENS) - paid, "the account paid this and no more");

    assert_published_once(&api, &ids, &nats.messages("TIDEGATE").await).await;
    let partner = Partner::new(&stand_ins.partner_url, Some(PARTNER_KEY));
    assert_partner_knows(&ids, &partner.records().await);
    assert_eq!(host.stop(Signal::Term).await, 0);
}
