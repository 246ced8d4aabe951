//! Each client's rules and words, by what its node does.

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, U256};

use super::*;
use crate::sandbox::evm_node::chain_tests::{Wallet, config, gwei, network_of, payment, send_to};

const TO: Address = Address::repeat_byte(0xbb);

fn with_fees(nonce: u64, fee: u128, tip: u128) -> TxEip1559 {
    TxEip1559 { max_fee_per_gas: fee, max_priority_fee_per_gas: tip, ..payment(nonce, TO, 9) }
}

/// The least bump of both fees, each of 3,000,000,001 and 1,000,000,001 wei before, that the client
/// takes: as a difference from ten percent rounded down, in wei.
fn least_bump(profile: ClientProfile) -> Option<i128> {
    let (fee, tip) = (3_000_000_001_u128, 1_000_000_001_u128);
    let (fee_ten, tip_ten) = (3_300_000_001_u128, 1_100_000_001_u128);
    let accepted = |above: i128| {
        let (mut network, wallet) = network_of(config(), &[profile]);
        send_to(&mut network, 0, &wallet.sign(with_fees(0, fee, tip))).unwrap();
        let raised = |old: u128| old.checked_add_signed(above).unwrap();
        let replacement = with_fees(0, raised(fee_ten), raised(tip_ten));
        send_to(&mut network, 0, &wallet.sign(replacement)).is_ok()
    };
    [-1, 0, 1].into_iter().find(|above| accepted(*above))
}

#[test]
fn geth_rounds_a_bump_down_reth_up_and_anvil_does_not_care() {
    for (profile, least) in [
        (ClientProfile::Geth, Some(0)),
        (ClientProfile::Reth, Some(1)),
        (ClientProfile::Nethermind, Some(0)),
        (ClientProfile::NethermindOld, Some(0)),
        (ClientProfile::Erigon, Some(0)),
        (ClientProfile::Besu, Some(0)),
        (ClientProfile::Arbitrum, None),
        (ClientProfile::Anvil, Some(-1)),
    ] {
        assert_eq!(least_bump(profile), least, "{profile:?}");
    }
}

#[test]
fn the_least_fee_is_more_than_before_where_ten_percent_are_nothing() {
    let down = Bump::PercentDownAndMore(10);
    assert_eq!([0, 1, 9, 10, 19, 20].map(|old| down.least(old)), [1, 2, 10, 11, 20, 22]);
    let up = Bump::PercentUp(10);
    assert_eq!([0, 1, 9, 10, 19, 20].map(|old| up.least(old)), [0, 2, 10, 11, 21, 22]);
    assert_eq!(Bump::More.least(u128::MAX), u128::MAX);
}

#[test]
fn a_sequencer_without_a_pool_takes_the_next_nonce_and_no_other() {
    let (mut network, wallet) = network_of(config(), &[ClientProfile::Arbitrum]);
    let mut send = |nonce: u64, value: u64| {
        send_to(&mut network, 0, &wallet.sign(payment(nonce, TO, value))).err()
    };
    let address = wallet.address;
    assert_eq!(send(1, 1), Some(format!("nonce too high: address {address}, tx: 1 state: 0")));
    assert_eq!(send(0, 1), None);
    assert_eq!(send(0, 1), Some(format!("nonce too low: address {address}, tx: 0 state: 1")));
    assert_eq!(send(0, 2), Some(format!("nonce too low: address {address}, tx: 0 state: 1")));
    assert_eq!(send(1, 1), None);
    let low = wallet.sign(with_fees(2, 999_999_999, 0));
    let refusal = send_to(&mut network, 0, &low).unwrap_err();
    assert!(refusal.starts_with("max fee per gas less than block base fee"), "{refusal}");
}

#[test]
fn some_clients_compare_the_balance_with_the_sum_and_some_with_each() {
    for (profile, sum) in [
        (ClientProfile::Geth, true),
        (ClientProfile::Reth, false),
        (ClientProfile::Nethermind, true),
        (ClientProfile::Erigon, false),
        (ClientProfile::Besu, false),
        (ClientProfile::Anvil, false),
    ] {
        let (mut network, wallet) = network_of(config(), &[profile]);
        let half = 600_000_000_000_000_000;
        send_to(&mut network, 0, &wallet.sign(payment(0, TO, half))).unwrap();
        let second = send_to(&mut network, 0, &wallet.sign(payment(1, TO, half)));
        assert_eq!(second.is_err(), sum, "{profile:?}: {second:?}");
    }
}

#[test]
fn limits_are_those_of_the_client() {
    let (mut network, wallet) = network_of(config(), &[ClientProfile::Reth]);
    for nonce in 0..16 {
        send_to(&mut network, 0, &wallet.sign(payment(nonce, TO, 1))).unwrap();
    }
    let seventeenth = send_to(&mut network, 0, &wallet.sign(payment(16, TO, 1)));
    assert_eq!(seventeenth.unwrap_err(), "txpool is full");
    // A replacement needs no room.
    send_to(&mut network, 0, &wallet.sign(with_fees(3, gwei(4), gwei(2)))).unwrap();

    let (mut network, wallet) = network_of(config(), &[ClientProfile::Besu]);
    send_to(&mut network, 0, &wallet.sign(payment(200, TO, 1))).unwrap();
    let far = send_to(&mut network, 0, &wallet.sign(payment(201, TO, 1)));
    assert_eq!(far.unwrap_err(), "Transaction nonce is too distant from current sender nonce");
}

/// What a client says to: the same bytes again; a used nonce; a replacement that offers no more;
/// more than the account has; too little gas.
fn words(profile: ClientProfile) -> [(i64, String); 5] {
    let (mut network, wallet) = network_of(config(), &[profile]);
    let mut refusal = |transaction: TxEip1559| {
        let refusal = network.send(0, &wallet.sign(transaction)).0.err();
        refusal.map_or_else(|| (0, "taken".to_owned()), |refusal| profile.answer(&refusal))
    };
    assert_eq!(refusal(payment(0, TO, 1)).1, "taken");
    let known = refusal(payment(0, TO, 1));
    let replaced = refusal(payment(0, TO, 2));
    let mut rich = payment(1, TO, 0);
    rich.value = U256::from(10).pow(U256::from(20));
    let funds = refusal(rich);
    let gas = refusal(TxEip1559 { gas_limit: 20_000, ..payment(1, TO, 1) });
    network.advance(250);
    let used = network.send(0, &wallet.sign(payment(0, TO, 3))).0.unwrap_err();
    [known, profile.answer(&used), replaced, funds, gas]
}

#[test]
fn every_client_speaks_in_its_own_words() {
    let starts: [(ClientProfile, [(i64, &str); 5]); 6] = [
        (
            ClientProfile::Geth,
            [
                (-32000, "already known"),
                (-32000, "nonce too low: next nonce 1, tx nonce 0"),
                (-32000, "replacement transaction underpriced"),
                (-32000, "insufficient funds for gas * price + value: balance 1000000000000000000"),
                (-32000, "intrinsic gas too low: gas 20000, minimum needed 21000"),
            ],
        ),
        (
            ClientProfile::Reth,
            [
                (-32000, "already known"),
                (-32000, "nonce too low: next nonce 1, tx nonce 0"),
                (-32000, "replacement transaction underpriced"),
                (-32003, "insufficient funds for gas * price + value: have 1000000000000000000"),
                (-32000, "intrinsic gas too low"),
            ],
        ),
        (
            ClientProfile::Nethermind,
            [
                (-32010, "already known"),
                (-32010, "nonce too low, Current nonce: 1, nonce of rejected tx: 0"),
                (-32010, "replacement transaction underpriced"),
                (
                    -32010,
                    "insufficient funds for gas * price + value, Account balance: 1000000000000000000",
                ),
                (-32010, "transaction invalid, intrinsic gas too low"),
            ],
        ),
        (
            ClientProfile::NethermindOld,
            [
                (-32010, "AlreadyKnown"),
                (-32010, "OldNonce, Current nonce: 1, nonce of rejected tx: 0"),
                (-32010, "ReplacementNotAllowed"),
                (-32010, "InsufficientFunds, Account balance: 1000000000000000000"),
                (-32010, "Invalid, intrinsic gas too low"),
            ],
        ),
        (
            ClientProfile::Erigon,
            [
                (-32000, "already known"),
                (-32000, "nonce too low"),
                (-32000, "could not replace existing tx"),
                (-32000, "insufficient funds"),
                (-32000, "IntrinsicGas"),
            ],
        ),
        (
            ClientProfile::Besu,
            [
                (-32000, "Known transaction"),
                (-32001, "Nonce too low"),
                (-32000, "Replacement transaction underpriced"),
                (-32004, "Upfront cost exceeds account balance"),
                (-32003, "Intrinsic gas exceeds gas limit"),
            ],
        ),
    ];
    for (profile, starts) in starts {
        for ((code, text), (said_code, said)) in starts.into_iter().zip(words(profile)) {
            assert_eq!(code, said_code, "{profile:?}: {said}");
            assert!(said.starts_with(text), "{profile:?}: {said:?} does not begin with {text:?}");
        }
    }
}

#[test]
fn nothing_stays_unfilled_in_any_clients_words() {
    for profile in ClientProfile::ALL {
        for (_, said) in words(profile) {
            assert!(!said.contains('{'), "{profile:?}: {said}");
        }
        let kinds: Vec<Kind> = profile.data().texts.iter().map(|text| text.kind).collect();
        let mut once = kinds.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), kinds.len(), "{profile:?} has two texts for one refusal");
    }
}

#[test]
fn accounts_do_not_disturb_each_other() {
    let (mut network, wallet) = network_of(config(), &[ClientProfile::Reth]);
    let other = Wallet::new(2);
    network.chain.ledger.endow(other.address, U256::from(10).pow(U256::from(18)));
    for nonce in 0..16 {
        send_to(&mut network, 0, &wallet.sign(payment(nonce, TO, 1))).unwrap();
    }
    send_to(&mut network, 0, &other.sign(payment(0, TO, 1))).unwrap();
}
