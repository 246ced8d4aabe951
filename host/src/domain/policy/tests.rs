use super::*;
use crate::domain::{Timestamp, Withdrawal, WithdrawalState};

const HOUR: Duration = Duration::from_secs(3_600);

fn amount(text: &str) -> Amount {
    text.parse().unwrap()
}

fn eth() -> AssetScope {
    AssetScope { asset: "ETH".into(), network: None }
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn withdrawal(of: &str) -> Withdrawal {
    let request = WithdrawalRequest {
        user_id: "user-1".into(),
        asset: "ETH".into(),
        network: "eip155:1".parse().unwrap(),
        amount: amount(of),
        destination_address: "0x52908400098527886E0F7030069857D2E4169EE7".into(),
    };
    Withdrawal::requested(WithdrawalId::generate(), request, Timestamp::UNIX_EPOCH)
}

/// `Ok` for yes; else the outcome and the rule.
fn answer(
    rules: PolicyRules,
    of: &str,
    facts: &PolicyFacts,
) -> Result<(), (PolicyOutcome, &'static str)> {
    let withdrawal = withdrawal(of);
    assert_eq!(withdrawal.state, WithdrawalState::Requested);
    let ruling = decide_policy(&Policies::new(rules), &withdrawal, facts);
    match ruling.outcome {
        PolicyOutcome::Allow => Ok(()),
        outcome => Err((outcome, ruling.rule)),
    }
}

fn window(per: WindowScope, sum_max: &str) -> WindowRule {
    WindowRule { per, scope: eth(), window: HOUR, sum_max: amount(sum_max) }
}

fn spent(texts: &[Option<&str>]) -> PolicyFacts {
    let spent = texts.iter().map(|text| text.map(amount)).collect();
    PolicyFacts { spent, ..PolicyFacts::default() }
}

#[test]
fn without_rules_everything_passes_but_what_is_frozen() {
    let none = PolicyFacts::default();
    assert_eq!(answer(PolicyRules::default(), "1000000", &none), Ok(()));
    let freeze = Freeze {
        id: 1,
        subject: FreezeSubject::All,
        reason: "audit".into(),
        frozen_by: "ops".into(),
        frozen_at: Timestamp::UNIX_EPOCH,
    };
    let frozen = PolicyFacts { frozen: Some(freeze), ..none.clone() };
    let waits = Err((PolicyOutcome::Wait, policy_rule::FREEZE));
    assert_eq!(answer(PolicyRules::default(), "1", &frozen), waits);
    // What is frozen is not even refused.
    let small = AmountRule { scope: eth(), amount_max: amount("1") };
    let rules = PolicyRules { amounts: vec![small], ..PolicyRules::default() };
    assert_eq!(answer(rules, "2", &frozen), waits);
    assert_eq!(replacement_ruling(&frozen).map(|it| it.rule), Some(policy_rule::FREEZE));
    assert_eq!(replacement_ruling(&none), None);
}

#[test]
fn the_largest_amount_passes_and_anything_more_never_does() {
    let rules = |asset: &str, network: Option<&str>| PolicyRules {
        amounts: vec![AmountRule {
            scope: AssetScope {
                asset: asset.into(),
                network: network.map(|network| network.parse().unwrap()),
            },
            amount_max: amount("50"),
        }],
        ..PolicyRules::default()
    };
    let none = PolicyFacts::default();
    assert_eq!(answer(rules("ETH", None), "50.000", &none), Ok(()));
    let denied = Err((PolicyOutcome::Deny, policy_rule::AMOUNT));
    assert_eq!(answer(rules("ETH", None), "50.000000000000000001", &none), denied);
    assert_eq!(answer(rules("ETH", Some("eip155:1")), "51", &none), denied);
    assert_eq!(answer(rules("ETH", Some("eip155:2")), "51", &none), Ok(()));
    assert_eq!(answer(rules("USDC", None), "51", &none), Ok(()));
}

#[test]
fn a_window_is_full_at_its_sum_and_not_before() {
    let rules = |windows: &[WindowRule]| PolicyRules {
        windows: windows.to_vec(),
        ..PolicyRules::default()
    };
    let full = Err((PolicyOutcome::Wait, policy_rule::WINDOW));
    for per in WindowScope::ALL {
        let one = || rules(&[window(per, "10")]);
        assert_eq!(answer(one(), "10", &spent(&[None])), Ok(()));
        assert_eq!(answer(one(), "3", &spent(&[Some("7")])), Ok(()));
        assert_eq!(answer(one(), "3", &spent(&[Some("7.000000000000000001")])), full);
        // It would wait for ever.
        let alone = Err((PolicyOutcome::Deny, policy_rule::WINDOW));
        assert_eq!(answer(one(), "10.1", &spent(&[None])), alone);
        // Not read is full.
        assert_eq!(answer(one(), "1", &spent(&[])), full);
    }
    let both = || rules(&[window(WindowScope::User, "10"), window(WindowScope::Network, "100")]);
    assert_eq!(answer(both(), "1", &spent(&[Some("9"), Some("99")])), Ok(()));
    assert_eq!(answer(both(), "1", &spent(&[Some("9.5"), Some("1")])), full);
    assert_eq!(answer(both(), "1", &spent(&[Some("1"), Some("99.5")])), full);
}

fn destinations(allow: Option<&[&str]>, deny: &[&str], cooling_off: Duration) -> PolicyRules {
    let rule = DestinationRule {
        network: "eip155:1".parse().unwrap(),
        allow: allow.map(names),
        deny: names(deny),
        cooling_off,
    };
    PolicyRules { destinations: vec![rule], ..PolicyRules::default() }
}

#[test]
fn lists_hold_in_either_case_of_an_address() {
    let none = PolicyFacts::default();
    let to = "0x52908400098527886e0f7030069857d2e4169ee7";
    let denied = Err((PolicyOutcome::Deny, policy_rule::DESTINATION));
    let go = |allow: Option<&[&str]>, deny: &[&str]| {
        answer(destinations(allow, deny, Duration::ZERO), "1", &none)
    };
    assert_eq!(go(None, &[]), Ok(()));
    assert_eq!(go(None, &[to]), denied);
    assert_eq!(go(Some(&[to]), &[]), Ok(()));
    assert_eq!(go(Some(&[]), &[]), denied, "an empty list allows nobody");
    assert_eq!(go(Some(&["0xaa"]), &[]), denied);
    assert_eq!(go(Some(&[to]), &[to]), denied, "deny wins");
    let solana: Network = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp".parse().unwrap();
    assert!(!same_address(&solana, "abc", "ABC"));
}

#[test]
fn a_new_destination_cools_off_to_the_end() {
    let facts = |paid_before, age| PolicyFacts { paid_before, age, ..PolicyFacts::default() };
    let rules = || destinations(None, &[], HOUR);
    let waits = Err((PolicyOutcome::Wait, policy_rule::COOLING_OFF));
    assert_eq!(answer(rules(), "1", &facts(false, Duration::ZERO)), waits);
    assert_eq!(answer(rules(), "1", &facts(false, HOUR - Duration::from_micros(1))), waits);
    assert_eq!(answer(rules(), "1", &facts(false, HOUR)), Ok(()));
    assert_eq!(answer(rules(), "1", &facts(true, Duration::ZERO)), Ok(()));
    let listed = ["0x52908400098527886E0F7030069857D2E4169EE7"];
    let known = destinations(Some(&listed), &[], HOUR);
    assert_eq!(answer(known, "1", &facts(false, Duration::ZERO)), Ok(()));
}

#[test]
fn so_many_approvals_are_needed_above_the_limit_and_only_named_people_count() {
    let rule = |above: &str, approvals, approvers: &[&str]| ApprovalRule {
        scope: eth(),
        above: amount(above),
        approvals,
        approvers: names(approvers),
    };
    let go = |rules: &[ApprovalRule], of, approvers: &[&str]| {
        let facts = PolicyFacts { approvers: names(approvers), ..PolicyFacts::default() };
        let rules = PolicyRules { approvals: rules.to_vec(), ..PolicyRules::default() };
        answer(rules, of, &facts)
    };
    let waits = Err((PolicyOutcome::Wait, policy_rule::APPROVALS));
    let two = [rule("10", 2, &[])];
    assert_eq!(go(&two, "10", &[]), Ok(()), "at the limit none is needed");
    assert_eq!(go(&two, "10.1", &["a"]), waits);
    assert_eq!(go(&two, "10.1", &["a", "b"]), Ok(()));
    let named = [rule("10", 2, &["a", "b", "c"])];
    assert_eq!(go(&named, "11", &["a", "x"]), waits);
    assert_eq!(go(&named, "11", &["a", "c"]), Ok(()));
    let steps = [rule("10", 1, &[]), rule("100", 2, &["boss", "cfo"])];
    assert_eq!(go(&steps, "11", &["a"]), Ok(()));
    assert_eq!(go(&steps, "101", &["a", "b"]), waits);
    assert_eq!(go(&steps, "101", &["boss", "cfo"]), Ok(()));
}

#[test]
fn only_a_clear_yes_from_outside_is_one() {
    let rules = || PolicyRules {
        external: Some(ExternalRule { url: "https://risk.example".into(), holds: HOUR }),
        ..PolicyRules::default()
    };
    let facts = |external| PolicyFacts { external, ..PolicyFacts::default() };
    let no = Some(ExternalAnswer::Deny { reason: "sanctions".into() });
    let rule = policy_rule::EXTERNAL;
    assert_eq!(answer(rules(), "1", &facts(Some(ExternalAnswer::Allow))), Ok(()));
    assert_eq!(answer(rules(), "1", &facts(None)), Err((PolicyOutcome::Wait, rule)));
    assert_eq!(answer(rules(), "1", &facts(no.clone())), Err((PolicyOutcome::Deny, rule)));
    // A no that was given before the rule was taken away says nothing any more.
    assert_eq!(answer(PolicyRules::default(), "1", &facts(no)), Ok(()));
}

#[test]
fn the_version_follows_the_rules_and_not_the_order_they_stand_in() {
    let version = |rules: PolicyRules| Policies::new(rules).version().to_owned();
    let windows = [window(WindowScope::User, "10"), window(WindowScope::Network, "100")];
    let with = |windows: &[WindowRule]| PolicyRules {
        windows: windows.to_vec(),
        ..PolicyRules::default()
    };
    let [one, two] = windows.clone();
    assert_eq!(version(with(&windows)), version(with(&[two, one.clone()])));
    assert_ne!(version(with(&windows)), version(with(&[one])));
    assert_ne!(version(with(&windows)), version(PolicyRules::default()));
    let lower = destinations(None, &["0xAA"], HOUR);
    let upper = destinations(None, &["0xaa"], HOUR);
    assert_eq!(version(lower), version(upper));
    let none = destinations(None, &[], HOUR);
    assert_ne!(version(none), version(destinations(Some(&[]), &[], HOUR)));
    let longer = PolicyRules { approval_ttl: 2 * HOUR, ..with(&[]) };
    assert_ne!(version(with(&[])), version(longer.clone()));
    assert!(Policies::new(longer).is_empty());
}

#[test]
fn an_external_answer_is_bound_to_every_fact() {
    let of = withdrawal("1");
    let digest = |request: &WithdrawalRequest| facts_digest(of.id, request, "v1");
    let first = digest(&of.request);
    let request = || of.request.clone();
    for other in [
        WithdrawalRequest { user_id: "user-2".into(), ..request() },
        WithdrawalRequest { asset: "USDC".into(), ..request() },
        WithdrawalRequest { network: "eip155:2".parse().unwrap(), ..request() },
        WithdrawalRequest { amount: amount("2"), ..request() },
        WithdrawalRequest { destination_address: "0x00".into(), ..request() },
    ] {
        assert_ne!(digest(&other), first, "{other:?}");
    }
    assert_ne!(facts_digest(of.id, &of.request, "v2"), first);
    assert_ne!(facts_digest(WithdrawalId::generate(), &of.request, "v1"), first);
    assert_eq!(digest(&request()), first);
}
