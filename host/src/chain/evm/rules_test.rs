//! Every rule at its edge, and requests that differ from a good one in one field.

use alloy_primitives::address;
use proptest::prelude::*;

use super::super::testing::{earlier, withdrawal_of};
use super::*;
use crate::domain::Timestamp;

const ACCOUNT: Address = address!("1a642f0e3c3af545e7acbd38b07251b3990914f1");
const CONTRACT: Address = address!("00000000000000000000000000000000000000cc");
const DESTINATION: &str = "0x52908400098527886E0F7030069857D2E4169EE7";
const GWEI: u128 = 1_000_000_000;

fn caps() -> FeeCaps {
    FeeCaps {
        fee_max_per_gas: 100 * GWEI,
        fee_max_per_transaction: 10_000_000 * GWEI,
        fee_max_per_day: 50_000_000 * GWEI,
        gas_limit_max: 200_000,
    }
}

fn native() -> Terms<'static> {
    Terms {
        network: "eip155:1",
        chain_id: 1,
        asset: "ETH",
        account: ACCOUNT,
        contract: None,
        decimals: 18,
        mined: 0,
        nonce_end: u64::MAX,
    }
}

fn token() -> Terms<'static> {
    Terms { asset: "USDT", contract: Some(CONTRACT), decimals: 6, ..native() }
}

fn rich() -> Balances {
    Balances { native: U256::from(10).pow(U256::from(20)), token: U256::from(10_000_000_u64) }
}

fn situation(terms: &Terms<'_>) -> SigningSituation {
    SigningSituation {
        withdrawal: withdrawal_of(terms.asset, terms.network, "1.5", DESTINATION),
        earlier: Vec::new(),
        nonce: 4,
        in_flight_native: BigUint::ZERO,
        in_flight_asset: BigUint::ZERO,
        fees_of_the_day: BigUint::ZERO,
    }
}

fn good_native() -> TransactionRequest {
    TransactionRequest {
        chain_id: 1,
        to: DESTINATION.to_lowercase(),
        value: "1500000000000000000".into(),
        data: Vec::new(),
        gas_limit: 21_000,
        max_fee_per_gas: (30 * GWEI).to_string(),
        max_priority_fee_per_gas: (2 * GWEI).to_string(),
    }
}

fn good_token() -> TransactionRequest {
    TransactionRequest {
        to: CONTRACT.to_string(),
        value: "0".into(),
        data: transfer_call(DESTINATION.parse().unwrap(), U256::from(1_500_000)),
        gas_limit: 60_000,
        ..good_native()
    }
}

fn rule_of(result: Result<ApprovedTransaction, SigningRefusal>) -> String {
    match result {
        Ok(_) => "signed".into(),
        Err(SigningRefusal::Refused { rule, .. }) => format!("refused {rule}"),
        Err(SigningRefusal::Wait { rule, .. }) => format!("wait {rule}"),
        Err(SigningRefusal::Unavailable(reason)) => format!("unavailable {reason}"),
    }
}

fn judge(terms: &Terms<'_>, request: &TransactionRequest) -> String {
    rule_of(check(terms, &caps(), &rich(), &situation(terms), request, false))
}

#[test]
fn a_good_request_is_approved_with_exactly_the_withdrawals_own_payment() {
    let approved =
        check(&native(), &caps(), &rich(), &situation(&native()), &good_native(), false).unwrap();
    assert_eq!(approved.to, DESTINATION.parse::<Address>().unwrap());
    assert_eq!((approved.nonce, approved.chain_id, approved.data.len()), (4, 1, 0));
    assert_eq!(approved.asset_units, U256::from(1_500_000_000_000_000_000_u64));
    let fees = U256::from(21_000_u64 * 30) * U256::from(GWEI);
    assert_eq!(approved.native_cost_max, approved.value + fees);

    let approved =
        check(&token(), &caps(), &rich(), &situation(&token()), &good_token(), false).unwrap();
    assert_eq!((approved.to, approved.value), (CONTRACT, U256::ZERO));
    assert_eq!(approved.asset_units, U256::from(1_500_000));
    assert_eq!(approved.native_cost_max, U256::from(60_000_u64 * 30) * U256::from(GWEI));
}

type Edit = (&'static str, fn(&mut TransactionRequest), &'static str);

#[test]
fn a_native_request_that_differs_in_one_field_is_refused_by_its_rule() {
    let edits: [Edit; 26] = [
        ("another chain", |r| r.chain_id = 5, "refused transaction.chain-id"),
        ("chain zero", |r| r.chain_id = 0, "refused transaction.chain-id"),
        ("another recipient", |r| r.to.replace_range(41.., "8"), "refused transaction.to"),
        ("no recipient", |r| r.to.clear(), "refused transaction.to"),
        ("the zero address", |r| r.to = format!("{:#x}", Address::ZERO), "refused transaction.to"),
        ("no prefix", |r| r.to = r.to[2..].into(), "refused transaction.to"),
        ("a longer recipient", |r| r.to.push('0'), "refused transaction.to"),
        ("a huge recipient", |r| r.to = "0".repeat(100_000), "refused transaction.to"),
        ("a wei more", |r| r.value.replace_range(18.., "1"), "refused transaction.value"),
        ("a wei less", |r| r.value = "1499999999999999999".into(), "refused transaction.value"),
        ("ten times", |r| r.value.push('0'), "refused transaction.value"),
        ("nothing", |r| r.value = "0".into(), "refused transaction.value"),
        ("no value", |r| r.value.clear(), "refused transaction.value"),
        ("a negative value", |r| r.value.insert(0, '-'), "refused transaction.value"),
        ("hexadecimal", |r| r.value = "0x14d1120d7b160000".into(), "refused transaction.value"),
        ("a leading zero", |r| r.value.insert(0, '0'), "refused transaction.value"),
        ("a huge value", |r| r.value = "9".repeat(100_000), "refused transaction.value"),
        ("data", |r| r.data.push(0), "refused transaction.data"),
        (
            "a token call",
            |r| r.data = transfer_call(Address::ZERO, U256::ONE),
            "refused transaction.data",
        ),
        ("gas below all", |r| r.gas_limit = 20_999, "refused transaction.gas-limit"),
        ("gas above the cap", |r| r.gas_limit = 200_001, "refused transaction.gas-limit"),
        ("all gas", |r| r.gas_limit = u64::MAX, "refused transaction.gas-limit"),
        ("no fee", |r| r.max_fee_per_gas.clear(), "refused transaction.max-fee-per-gas"),
        (
            "a fee above 2^128",
            |r| r.max_fee_per_gas = "340282366920938463463374607431768211456".into(),
            "refused transaction.max-fee-per-gas",
        ),
        (
            "a priority fee in words",
            |r| r.max_priority_fee_per_gas = "two".into(),
            "refused transaction.max-priority-fee-per-gas",
        ),
        (
            "a priority fee above the fee",
            |r| r.max_priority_fee_per_gas = (30 * GWEI + 1).to_string(),
            "refused transaction.max-priority-fee-per-gas",
        ),
    ];
    assert_eq!(judge(&native(), &good_native()), "signed");
    for (name, edit, expected) in edits {
        let mut request = good_native();
        edit(&mut request);
        assert_eq!(judge(&native(), &request), expected, "{name}");
    }
}

#[test]
fn a_token_request_that_differs_in_one_field_is_refused_by_its_rule() {
    let edits: [Edit; 14] = [
        ("another contract", |r| r.to.replace_range(41.., "d"), "refused transaction.to"),
        ("straight to the payee", |r| r.to = DESTINATION.into(), "refused transaction.to"),
        ("coins beside", |r| r.value = "1".into(), "refused transaction.value"),
        ("another payee", |r| r.data[35] ^= 1, "refused transaction.data"),
        ("dirt before the payee", |r| r.data[4] = 1, "refused transaction.data"),
        ("a unit more", |r| r.data[67] ^= 1, "refused transaction.data"),
        ("a huge amount", |r| r.data[36] = 0xff, "refused transaction.data"),
        ("a tail", |r| r.data.push(0), "refused transaction.data"),
        ("a long tail", |r| r.data.extend([7; 100_000]), "refused transaction.data"),
        ("cut short", |r| r.data.truncate(67), "refused transaction.data"),
        ("no call", |r| r.data.clear(), "refused transaction.data"),
        (
            "approve",
            |r| r.data[..4].copy_from_slice(&[0x09, 0x5e, 0xa7, 0xb3]),
            "refused transaction.data",
        ),
        (
            "transferFrom",
            |r| r.data[..4].copy_from_slice(&[0x23, 0xb8, 0x72, 0xdd]),
            "refused transaction.data",
        ),
        ("another chain", |r| r.chain_id = 31_337, "refused transaction.chain-id"),
    ];
    assert_eq!(judge(&token(), &good_token()), "signed");
    for (name, edit, expected) in edits {
        let mut request = good_token();
        edit(&mut request);
        assert_eq!(judge(&token(), &request), expected, "{name}");
    }
}

#[test]
fn a_withdrawal_of_another_kind_is_refused_by_its_rule() {
    let judge = |edit: fn(&mut SigningSituation)| {
        let mut situation = situation(&native());
        edit(&mut situation);
        rule_of(check(&native(), &caps(), &rich(), &situation, &good_native(), false))
    };
    let with = |network, amount, destination| {
        move |s: &mut SigningSituation| {
            s.withdrawal = withdrawal_of("ETH", network, amount, destination);
        }
    };
    let apply = |change: &dyn Fn(&mut SigningSituation)| {
        let mut situation = situation(&native());
        change(&mut situation);
        rule_of(check(&native(), &caps(), &rich(), &situation, &good_native(), false))
    };
    let huge = "9".repeat(78);
    let zero = "0x0000000000000000000000000000000000000000";
    assert_eq!(apply(&with("eip155:5", "1.5", DESTINATION)), "refused withdrawal.network");
    assert_eq!(
        apply(&with("eip155:1", "1.5000000000000000001", DESTINATION)),
        "refused withdrawal.amount"
    );
    assert_eq!(apply(&with("eip155:1", &huge, DESTINATION)), "refused withdrawal.amount");
    assert_eq!(apply(&with("eip155:1", "1.5", zero)), "refused withdrawal.destination");
    assert_eq!(apply(&with("eip155:1", "1.5", "alice.eth")), "refused withdrawal.destination");
    assert_eq!(judge(|s| s.withdrawal.request.asset = "BTC".into()), "refused withdrawal.asset");
    let now = Timestamp::UNIX_EPOCH;
    let hash = || "0xaa".to_owned();
    let states = [
        WithdrawalState::Broadcasted { tx_hash: hash(), broadcasted_at: now },
        WithdrawalState::Confirmed { tx_hash: hash(), broadcasted_at: now, confirmed_at: now },
        WithdrawalState::Failed { reason: "no".into(), broadcast: None },
    ];
    for state in states {
        let mut situation = situation(&native());
        situation.withdrawal.state = state;
        let answer = rule_of(check(&native(), &caps(), &rich(), &situation, &good_native(), false));
        assert_eq!(answer, "refused withdrawal.state");
    }
}

#[test]
fn caps_hold_to_the_wei_and_make_the_plugin_wait() {
    let judge = |caps: FeeCaps, of_the_day: u128| {
        let mut situation = situation(&native());
        situation.fees_of_the_day = BigUint::from(of_the_day);
        rule_of(check(&native(), &caps, &rich(), &situation, &good_native(), false))
    };
    let fee = 21_000 * 30 * GWEI;
    let exact = FeeCaps {
        fee_max_per_gas: 30 * GWEI,
        fee_max_per_transaction: fee,
        fee_max_per_day: fee + 5,
        gas_limit_max: 21_000,
    };
    assert_eq!(judge(exact, 5), "signed");
    assert_eq!(judge(exact, 6), "wait fee-cap.per-day");
    let less = FeeCaps { fee_max_per_gas: 30 * GWEI - 1, ..exact };
    assert_eq!(judge(less, 0), "wait fee-cap.per-gas");
    let less = FeeCaps { fee_max_per_transaction: fee - 1, ..exact };
    assert_eq!(judge(less, 0), "wait fee-cap.per-transaction");
    let less = FeeCaps { gas_limit_max: 20_999, ..exact };
    assert_eq!(judge(less, 0), "refused transaction.gas-limit");
}

#[test]
fn balances_cover_this_and_everything_in_flight_to_the_unit() {
    let fee = U256::from(60_000_u64 * 30) * U256::from(GWEI);
    let judge = |native: U256, tokens: u64, in_flight: (u8, u8)| {
        let mut situation = situation(&token());
        situation.in_flight_native = BigUint::from(in_flight.0);
        situation.in_flight_asset = BigUint::from(in_flight.1);
        let balances = Balances { native, token: U256::from(tokens) };
        rule_of(check(&token(), &caps(), &balances, &situation, &good_token(), false))
    };
    assert_eq!(judge(fee, 1_500_000, (0, 0)), "signed");
    assert_eq!(judge(fee + U256::from(3), 1_500_007, (3, 7)), "signed");
    assert_eq!(judge(fee - U256::ONE, 1_500_000, (0, 0)), "wait balance.native");
    assert_eq!(judge(fee + U256::from(2), 1_500_007, (3, 7)), "wait balance.native");
    assert_eq!(judge(fee, 1_499_999, (0, 0)), "wait balance.asset");
    assert_eq!(judge(fee, 1_500_006, (0, 7)), "wait balance.asset");

    let all = U256::from(1_500_000_000_000_000_000_u64);
    let fee = U256::from(21_000_u64 * 30) * U256::from(GWEI);
    for (native_balance, expected) in
        [(all + fee, "signed"), (all + fee - U256::ONE, "wait balance.native")]
    {
        let balances = Balances { native: native_balance, token: U256::ZERO };
        let answer =
            check(&native(), &caps(), &balances, &situation(&native()), &good_native(), false);
        assert_eq!(rule_of(answer), expected);
    }
}

fn replacement(old: &[(u128, u128)], new: (u128, u128)) -> String {
    let mut situation = situation(&native());
    situation.withdrawal.state = WithdrawalState::Broadcasted {
        tx_hash: "0xaa".into(),
        broadcasted_at: Timestamp::UNIX_EPOCH,
    };
    let id = situation.withdrawal.id;
    situation.earlier = old.iter().map(|fees| earlier(id, 1, ACCOUNT, 4, *fees)).collect();
    let mut request = good_native();
    request.max_fee_per_gas = new.0.to_string();
    request.max_priority_fee_per_gas = new.1.to_string();
    rule_of(check(&native(), &caps(), &rich(), &situation, &request, true))
}

#[test]
fn a_replacement_raises_both_fees_by_an_eighth_rounded_up() {
    assert_eq!(replacement(&[(800, 80)], (900, 90)), "signed");
    assert_eq!(replacement(&[(800, 80)], (899, 90)), "refused replacement.fees");
    assert_eq!(replacement(&[(800, 80)], (900, 89)), "refused replacement.fees");
    // 1.125 × 801 is 901.125.
    assert_eq!(replacement(&[(801, 0)], (901, 1)), "refused replacement.fees");
    assert_eq!(replacement(&[(801, 0)], (902, 1)), "signed");
    assert_eq!(replacement(&[(1, 0)], (2, 1)), "signed");
    assert_eq!(replacement(&[(1, 0)], (2, 0)), "refused replacement.fees");
    assert_eq!(replacement(&[(900, 90), (800, 80)], (900, 90)), "refused replacement.fees");
    assert_eq!(replacement(&[(u128::MAX, 0)], (u128::MAX, 1)), "refused replacement.fees");
}

#[test]
fn a_replacement_needs_something_to_replace_and_the_same_key_and_nonce() {
    assert_eq!(replacement(&[], (900, 90)), "refused replacement.wanted");
    let judge = |edit: fn(&mut SigningSituation)| {
        let mut situation = situation(&native());
        let id = situation.withdrawal.id;
        situation.earlier.push(earlier(id, 1, ACCOUNT, 4, (1, 1)));
        edit(&mut situation);
        rule_of(check(&native(), &caps(), &rich(), &situation, &good_native(), true))
    };
    assert_eq!(judge(|_| {}), "signed");
    assert_eq!(judge(|s| s.earlier[0].account.replace_range(2..3, "f")), "wait account.key");
    assert_eq!(judge(|s| s.nonce = 5), "refused account.key");
    assert_eq!(judge(|s| s.earlier[0].chain_id = 5), "refused account.key");
    let closed = |s: &mut SigningSituation| s.earlier[0].signed.kind = TransactionKind::Closing;
    assert_eq!(judge(closed), "refused nonce.closed");
    let mut situation = situation(&native());
    let id = situation.withdrawal.id;
    situation.earlier.push(earlier(id, 1, ACCOUNT, 4, (1, 1)));
    let answer = rule_of(check(&native(), &caps(), &rich(), &situation, &good_native(), false));
    assert_eq!(answer, "refused replacement.wanted", "the first one is not signed twice");
}

proptest! {
    /// Against the rule as DESIGN §6 words it, in arithmetic that cannot overflow.
    #[test]
    fn the_least_replacement_fee_is_exact(old in any::<u128>()) {
        let wide = BigUint::from(old);
        let ceiling = (&wide * 1125_u32 + 999_u32) / 1000_u32;
        let expected = ceiling.max(wide + 1_u32);
        match replacement_fee_min(old) {
            Some(least) => prop_assert_eq!(BigUint::from(least), expected),
            None => prop_assert!(expected > BigUint::from(u128::MAX)),
        }
    }

    /// Whatever is asked, only the withdrawal's own payment is approved.
    #[test]
    fn nothing_but_the_withdrawals_own_payment_is_ever_approved(
        to in "(0x)?[0-9a-f]{38,42}", value in "[0-9]{0,20}", data in any::<Vec<u8>>(),
        gas_limit in any::<u64>(), fee in "[0-9]{1,12}", priority in "[0-9]{1,12}",
    ) {
        let request = TransactionRequest {
            chain_id: 1, to, value, data, gas_limit,
            max_fee_per_gas: fee, max_priority_fee_per_gas: priority,
        };
        prop_assert_ne!(judge(&token(), &request), "signed");
    }
}
