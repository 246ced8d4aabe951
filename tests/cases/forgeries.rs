//! A plugin that asks the signer for everything but the payment that it was given.
//!
//! What cannot be asked at all is no row here, for the contract's types have no place for it: a
//! nonce, an account, a transaction of type 3 or 4, an access list, a digest, or bytes that were
//! signed before. The nearest that a plugin can come is to put such bytes where it may put some.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy_primitives::hex;
use serde_json::Value;
use tidegate::sandbox::TOKEN_CONTRACT;
use tidegate_tests::api::{Api, send};
use tidegate_tests::bench::Bench;
use tidegate_tests::machine;
use tidegate_tests::manifest::Manifest;
use tidegate_tests::node::word;
use tidegate_tests::order::Order;
use toml::{Table, Value as Toml};

const WITHIN: Duration = Duration::from_secs(30);
const CHAIN_ID: u64 = 31_337;
/// A transaction of type 2 that somebody else signed, as nodes take it.
const RAW: &str = "02f86b827a6901843b9aca0084b2d05e0082520894bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb05\
                   80c080a0d4213d3ec6c618ff402092038fdcea11bb549562ff6129bc1c1ec9cd8e9bc0ff\
                   a07bf623d5eb489223";

/// A row: what is tried, how it differs from the payment, and the rule that forbids it.
struct Row {
    name: &'static str,
    change: Vec<(&'static str, Toml)>,
    rule: &'static str,
}

fn row<V: Into<Toml>>(
    name: &'static str,
    field: &'static str,
    value: V,
    rule: &'static str,
) -> Row {
    Row { name, change: vec![(field, value.into())], rule }
}

fn good(to: &str, value: &str, data: &str, gas_limit: i64) -> Table {
    Table::from_iter([
        ("chain_id".to_owned(), Toml::Integer(CHAIN_ID.try_into().unwrap())),
        ("to".to_owned(), to.into()),
        ("value".to_owned(), value.into()),
        ("data".to_owned(), data.into()),
        ("gas_limit".to_owned(), gas_limit.into()),
        ("max_fee_per_gas".to_owned(), "30000000000".into()),
        ("max_priority_fee_per_gas".to_owned(), "2000000000".into()),
    ])
}

fn table(good: &Table, rows: &[Row]) -> Toml {
    let forged = rows.iter().map(|row| {
        let mut forgery = good.clone();
        forgery.insert("name".to_owned(), row.name.into());
        for (field, value) in &row.change {
            forgery.insert((*field).to_owned(), value.clone());
        }
        Toml::Table(forgery)
    });
    let mut last = good.clone();
    last.insert("name".to_owned(), "the payment".into());
    let again = {
        let mut again = good.clone();
        again.insert("name".to_owned(), "another one, after it".into());
        again.insert("to".to_owned(), Toml::from(format!("0x{:040x}", 0xbad)));
        again
    };
    Toml::Array(forged.chain([Toml::Table(last), Toml::Table(again)]).collect())
}

fn native_rows(order: &Order, other: &Order) -> Vec<Row> {
    let huge = "1".repeat(300);
    let mut above = order.units(18);
    above.truncate(above.len() - 1);
    let above = format!("{above}1");
    let second = vec![("to", other.destination.as_str().into()), ("value", other.units(18).into())];
    let fees = |fee: &str, tip: &str| {
        vec![("max_fee_per_gas", fee.into()), ("max_priority_fee_per_gas", tip.into())]
    };
    vec![
        row("another chain that is granted", "chain_id", 1, "network.configured"),
        row("no chain", "chain_id", 0, "network.configured"),
        row("another destination", "to", format!("0x{:040x}", 0xbad), "transaction.to"),
        row("the zero address", "to", format!("0x{:040x}", 0), "transaction.to"),
        row("no destination", "to", "", "transaction.to"),
        row("a destination without 0x", "to", &order.destination[2..], "transaction.to"),
        row(
            "a destination that is too long",
            "to",
            format!("{}00", order.destination),
            "transaction.to",
        ),
        row("a name as destination", "to", "alice.eth", "transaction.to"),
        row("a destination of 300 digits", "to", huge.as_str(), "transaction.size"),
        row("the token's contract", "to", TOKEN_CONTRACT.to_string(), "transaction.to"),
        row("a wei more", "value", above, "transaction.value"),
        row("ten times the value", "value", format!("{}0", order.units(18)), "transaction.value"),
        row("nothing", "value", "0", "transaction.value"),
        row("no value", "value", "", "transaction.value"),
        row("a negative value", "value", format!("-{}", order.units(18)), "transaction.value"),
        row("a value in hexadecimal", "value", "0x16345785d8a0000", "transaction.value"),
        row(
            "a value with a leading zero",
            "value",
            format!("0{}", order.units(18)),
            "transaction.value",
        ),
        row("a value of 300 digits", "value", huge.as_str(), "transaction.size"),
        row("data on a native transfer", "data", "00", "transaction.data"),
        row(
            "a token's transfer as data",
            "data",
            transfer(&order.destination, "1"),
            "transaction.data",
        ),
        row("an old raw transaction as data", "data", RAW, "transaction.data"),
        row("a raw transaction as value", "value", format!("0x{RAW}"), "transaction.value"),
        row("20,000 bytes of data", "tail_bytes", 20_000, "transaction.size"),
        row("less gas than there is", "gas_limit", 20_999, "transaction.gas-limit"),
        row("no gas", "gas_limit", 0, "transaction.gas-limit"),
        row("all gas", "gas_limit", i64::MAX, "transaction.gas-limit"),
        row("no fee", "max_fee_per_gas", "", "transaction.max-fee-per-gas"),
        row("a fee in words", "max_fee_per_gas", "much", "transaction.max-fee-per-gas"),
        row("a fee above 2^128", "max_fee_per_gas", "9".repeat(60), "transaction.max-fee-per-gas"),
        row(
            "no priority fee",
            "max_priority_fee_per_gas",
            "",
            "transaction.max-priority-fee-per-gas",
        ),
        row(
            "a priority fee above the fee",
            "max_priority_fee_per_gas",
            "30000000001",
            "transaction.max-priority-fee-per-gas",
        ),
        Row {
            name: "fees above the cap for a unit",
            change: fees("1000000000001", "1"),
            rule: "fee-cap.per-gas",
        },
        Row { name: "a second withdrawal's payment", change: second, rule: "transaction.to" },
        row("a replacement of nothing", "replacement", true, "replacement.wanted"),
    ]
}

fn transfer(to: &str, units: &str) -> String {
    let units: u64 = units.parse().unwrap();
    format!("a9059cbb{}{units:064x}", word(to))
}

fn token_rows(order: &Order) -> Vec<Row> {
    let data = transfer(&order.destination, &order.units(6));
    let with = |from: usize, digits: &str| {
        let mut data = data.clone();
        data.replace_range(from..from + digits.len(), digits);
        data
    };
    vec![
        row("another contract", "to", format!("0x{:040x}", 0xbad), "transaction.to"),
        row("straight to the payee", "to", order.destination.as_str(), "transaction.to"),
        row("coins beside the token", "value", "1", "transaction.value"),
        row("another payee in the call", "data", with(70, "ff"), "transaction.data"),
        row("dirt before the payee", "data", with(8, "01"), "transaction.data"),
        row("a unit more in the call", "data", with(134, "ff"), "transaction.data"),
        row("a tail behind the call", "data", format!("{data}00"), "transaction.data"),
        row("a long tail behind the call", "tail_bytes", 4_096, "transaction.data"),
        row("a call that is cut short", "data", &data[..134], "transaction.data"),
        row("no call", "data", "", "transaction.data"),
        row("approve instead of transfer", "data", with(0, "095ea7b3"), "transaction.data"),
        row("transferFrom instead of transfer", "data", with(0, "23b872dd"), "transaction.data"),
    ]
}

/// What the plugin was answered, by what it tried.
async fn answers(api: &Api, withdrawal: &str) -> Vec<(String, String)> {
    let events = api.events_of(withdrawal, "BLOCKCHAIN_BROADCAST_REQUESTED").await;
    let id = events[0]["id"].as_str().unwrap();
    let event = api.event_reaches(id, "DONE", WITHIN).await;
    let text = |tried: &Value, field: &str| tried[field].as_str().unwrap().to_owned();
    let detail = event["event"]["detail"].as_array().unwrap_or_else(|| panic!("{event}"));
    detail.iter().map(|tried| (text(tried, "name"), text(tried, "answer"))).collect()
}

/// How often each rule forbade a signature, as the host counts it.
async fn counted(api: &Api) -> BTreeMap<String, u64> {
    let reply = send(api.request(reqwest::Method::GET, "/metrics")).await.unwrap();
    let lines =
        reply.text.lines().filter_map(|line| line.strip_prefix("tidegate_signing_refused_total{"));
    let mut counts = BTreeMap::new();
    for line in lines {
        let (labels, count) = line.split_once("} ").unwrap();
        let rule = labels.split("rule=\"").nth(1).unwrap().trim_end_matches('"');
        *counts.entry(rule.to_owned()).or_default() += count.parse::<u64>().unwrap();
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_that_differs_is_refused_by_its_rule_counted_and_changes_nothing() {
    let _shared = machine::shared().await;
    let bench = Bench::start().await;
    let (first, second, token) = (Order::number(1), Order::number(2), Order::number(3).of("USDC"));
    let native = native_rows(&first, &second);
    let tokens = token_rows(&token);
    assert!(native.len() + tokens.len() >= 30);
    let call = transfer(&token.destination, &token.units(6));
    let forgeries = Table::from_iter([
        ("ETH".to_owned(), table(&good(&first.destination, &first.units(18), "", 21_000), &native)),
        ("USDC".to_owned(), table(&good(&TOKEN_CONTRACT.to_string(), "0", &call, 60_000), &tokens)),
    ]);
    let select = Table::from_iter([("network".to_owned(), Toml::from("eip155:*"))]);
    let hostile = Manifest::shipped("hostile")
        .at_top("handles", vec!["BLOCKCHAIN_BROADCAST_REQUESTED"])
        .at_top("select", select)
        .with("limits", "timeout", "20s")
        .with("grants", "networks", vec!["eip155:*"])
        .with("settings", "forgeries", forgeries);
    bench.installation.add(&hostile).await;
    let (mut host, api) = bench.installation.serve().await;

    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for (order, rows, nonce) in [(&first, &native, 0), (&token, &tokens, 1)] {
        let id = api.submit(order).await;
        let answers = answers(&api, &id).await;
        assert_eq!(answers.len(), rows.len() + 2);
        for (row, (name, answer)) in rows.iter().zip(&answers) {
            assert_eq!(row.name, name);
            assert!(answer.contains(row.rule), "{name}: {answer:?} does not name {}", row.rule);
            *expected.entry(row.rule.to_owned()).or_default() += 1;
        }
        // The account is as it was: the payment itself has the first free nonce; and whatever is
        // asked afterwards, that payment is what comes back.
        let signed = format!("signed with nonce {nonce}");
        assert_eq!(answers[rows.len()].1, signed);
        assert_eq!(answers[rows.len() + 1].1, signed);
        assert!(bench.stand_ins.node.network().sightings().iter().all(|seen| {
            // Only the host sends here, and only what it signed.
            !hex::encode(&seen.raw).contains("0bad")
        }));
    }
    assert_eq!(counted(&api).await, expected);
    println!("{} forgeries, {} rules", native.len() + tokens.len(), expected.len());
    assert!(host.is_running(), "the host is alive");
}
