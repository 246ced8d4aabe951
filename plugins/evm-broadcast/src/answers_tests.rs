use serde::Deserialize;

use super::{Meaning, RULES, meaning_of, rule_for};

/// Texts as the clients write them, with what surrounds them there.
const FIXTURES: &str = include_str!("../fixtures/answers.json");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    client: String,
    text: String,
    meaning: Meaning,
}

fn fixtures() -> Vec<Fixture> {
    serde_json::from_str(FIXTURES).unwrap()
}

/// Texts that a hasty comparison gets wrong.
const TRAPS: &[(&str, Option<Meaning>)] = &[
    // One inside the other.
    ("unknown transaction", None),
    ("unknown transaction type", None),
    ("REPLACEMENT TRANSACTION UNDERPRICED", Some(Meaning::Bump)),
    // A revert may quote anything.
    ("execution reverted: already known", Some(Meaning::Resend)),
    ("execution reverted: nonce too low", Some(Meaning::Resend)),
    ("VM Exception: execution reverted: insufficient funds", Some(Meaning::Resend)),
    // Wrapped by a provider, joined by a load balancer: the more telling text decides.
    ("Internal error: rpc error: {\"message\":\"nonce too low\"}", Some(Meaning::Receipt)),
    (
        "node-1: insufficient funds for gas * price + value; node-2: already known",
        Some(Meaning::Accepted),
    ),
    ("node-1: txpool is full; node-2: nonce too low", Some(Meaning::Receipt)),
    // Short words inside longer texts.
    ("not yet mined", None),
    ("invalid json request", None),
    ("invalid params", None),
    // About the provider, not about the transaction.
    ("header not found", None),
    ("the moon is full", None),
    ("", None),
    ("ein Fehler ist aufgetreten: größer", None),
];

#[test]
fn every_clients_texts_mean_what_they_should() {
    for Fixture { client, text, meaning } in fixtures() {
        assert_eq!(meaning_of(&text), Some(meaning), "{client}: {text}");
    }
}

#[test]
fn the_traps_are_avoided() {
    for (text, meaning) in TRAPS {
        assert_eq!(meaning_of(text), *meaning, "{text}");
    }
}

#[test]
fn every_rule_decides_a_fixture() {
    let fixtures = fixtures();
    let decided: Vec<&str> =
        fixtures.iter().filter_map(|it| rule_for(&it.text)).map(|rule| rule.text).collect();
    for rule in RULES {
        assert!(decided.contains(&rule.text), "{}: {}", rule.client, rule.text);
    }
}

#[test]
fn the_table_is_in_lower_case_and_says_nothing_twice() {
    for (place, rule) in RULES.iter().enumerate() {
        assert_eq!(rule.text, rule.text.to_lowercase());
        assert!(RULES[..place].iter().all(|before| before.text != rule.text), "{}", rule.text);
    }
}
