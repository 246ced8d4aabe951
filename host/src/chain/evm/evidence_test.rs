//! Every kind of evidence, and that nothing less than all of it ends a payment.

use alloy_primitives::{address, b256};
use proptest::prelude::*;

use super::*;

const ACCOUNT: Address = address!("00000000000000000000000000000000000000a1");
const PAYEE: Address = address!("00000000000000000000000000000000000000b2");
const TOKEN: Address = address!("00000000000000000000000000000000000000cc");
const FIRST: B256 = b256!("0000000000000000000000000000000000000000000000000000000000000001");
const SECOND: B256 = b256!("0000000000000000000000000000000000000000000000000000000000000002");
const BLOCK: B256 = b256!("00000000000000000000000000000000000000000000000000000000000000bb");
const OTHER_BLOCK: B256 = b256!("00000000000000000000000000000000000000000000000000000000000000dd");

fn native() -> Expected {
    Expected { account: ACCOUNT, destination: PAYEE, contract: None, units: U256::from(100) }
}

fn token() -> Expected {
    Expected { contract: Some(TOKEN), ..native() }
}

fn transfer(contract: Address, from: Address, to: Address, units: u64) -> Log {
    Log {
        address: contract,
        topics: vec![Erc20::Transfer::SIGNATURE_HASH, from.into_word(), to.into_word()],
        data: U256::from(units).to_be_bytes::<32>().to_vec(),
    }
}

fn receipt(tx_hash: B256, succeeded: bool, logs: Vec<Log>) -> Receipt {
    Receipt { tx_hash, block_number: 100, block_hash: BLOCK, from: ACCOUNT, succeeded, logs }
}

fn sighting(tx_hash: B256, receipt: Option<Receipt>) -> Sighting {
    Sighting { tx_hash, kind: TransactionKind::Payment, receipt }
}

/// With a depth of three.
fn view(head: u64) -> CanonicalView {
    deep(head, 3)
}

fn deep(head: u64, depth: u64) -> CanonicalView {
    let final_up_to = (head + 1).checked_sub(depth);
    CanonicalView { head, final_up_to, hashes: BTreeMap::from([(100, BLOCK)]) }
}

fn effect_of(expected: &Expected, receipt: Receipt) -> Effect {
    match judge(&[sighting(FIRST, Some(receipt))], expected, &view(102)) {
        Evidence::Final(_, effect) => effect,
        other => panic!("not final: {other:?}"),
    }
}

#[test]
fn a_missing_receipt_is_never_evidence() {
    let sightings = [sighting(FIRST, None), sighting(SECOND, None)];
    assert_eq!(judge(&sightings, &native(), &view(1_000_000)), Evidence::NotMined);
    assert_eq!(judge(&[], &native(), &deep(0, 1)), Evidence::NotMined);
}

#[test]
fn depth_counts_the_payments_own_block_and_ends_it_to_the_block() {
    let judge = |head, depth| {
        let sightings = [sighting(FIRST, Some(receipt(FIRST, true, Vec::new())))];
        judge(&sightings, &native(), &deep(head, depth))
    };
    assert!(matches!(judge(100, 1), Evidence::Final(Inclusion { depth: 1, .. }, Effect::Paid)));
    assert!(matches!(judge(100, 2), Evidence::Mined(Inclusion { depth: 1, .. })));
    assert!(matches!(judge(101, 3), Evidence::Mined(Inclusion { depth: 2, .. })));
    assert!(matches!(judge(102, 3), Evidence::Final(Inclusion { depth: 3, .. }, Effect::Paid)));
    let newer = judge(99, 1);
    assert!(matches!(newer, Evidence::Mined(Inclusion { depth: 1, .. })), "newer than the head");
}

#[test]
fn with_a_tag_the_blocks_up_to_its_own_are_final_however_deep_they_are() {
    let judge = |final_up_to| {
        let sightings = [sighting(FIRST, Some(receipt(FIRST, true, Vec::new())))];
        judge(&sightings, &native(), &CanonicalView { final_up_to, ..view(1_000) })
    };
    assert!(matches!(judge(None), Evidence::Mined(_)));
    assert!(matches!(judge(Some(99)), Evidence::Mined(_)));
    assert!(matches!(judge(Some(100)), Evidence::Final(Inclusion { depth: 901, .. }, _)));
}

#[test]
fn a_receipt_of_a_block_that_is_not_canonical_counts_for_nothing() {
    let sightings = [sighting(FIRST, Some(receipt(FIRST, true, Vec::new())))];
    for hashes in [BTreeMap::new(), BTreeMap::from([(100, OTHER_BLOCK)])] {
        let view = CanonicalView { hashes, ..view(1_000) };
        let evidence = judge(&sightings, &native(), &view);
        assert_eq!(evidence, Evidence::Reorged { tx_hash: FIRST });
    }
}

#[test]
fn whichever_of_the_signed_transactions_was_mined_decides() {
    let stale = Receipt { block_hash: OTHER_BLOCK, ..receipt(FIRST, true, Vec::new()) };
    let mined = receipt(SECOND, true, Vec::new());
    for first in [None, Some(stale)] {
        let sightings = [sighting(FIRST, first), sighting(SECOND, Some(mined.clone()))];
        let evidence = judge(&sightings, &native(), &view(102));
        assert!(
            matches!(evidence, Evidence::Final(Inclusion { tx_hash: SECOND, .. }, Effect::Paid)),
            "{evidence:?}"
        );
    }
}

#[test]
fn what_cannot_be_is_contradictory_and_ends_nothing() {
    let both = [FIRST, SECOND].map(|h| sighting(h, Some(receipt(h, true, Vec::new()))));
    assert_eq!(judge(&both, &native(), &view(102)), Evidence::Contradictory);
    let of_another = sighting(FIRST, Some(receipt(SECOND, true, Vec::new())));
    assert_eq!(judge(&[of_another], &native(), &view(102)), Evidence::Contradictory);
    let sent_by_another = Receipt { from: PAYEE, ..receipt(FIRST, true, Vec::new()) };
    let sighting = sighting(FIRST, Some(sent_by_another));
    assert_eq!(judge(&[sighting], &native(), &view(102)), Evidence::Contradictory);
}

#[test]
fn a_revert_and_a_closing_transaction_end_a_payment_only_when_final() {
    assert_eq!(effect_of(&native(), receipt(FIRST, false, Vec::new())), Effect::Reverted);
    let closing = Sighting {
        kind: TransactionKind::Closing,
        ..sighting(FIRST, Some(receipt(FIRST, true, Vec::new())))
    };
    let evidence = judge(std::slice::from_ref(&closing), &native(), &view(102));
    assert!(matches!(evidence, Evidence::Final(_, Effect::Closed)), "{evidence:?}");
    let evidence = judge(&[closing], &native(), &view(101));
    assert!(matches!(evidence, Evidence::Mined(_)), "{evidence:?}");
    let reverted = sighting(FIRST, Some(receipt(FIRST, false, Vec::new())));
    assert!(matches!(judge(&[reverted], &native(), &view(101)), Evidence::Mined(_)));
}

#[test]
fn a_token_payment_is_what_its_transfer_log_says() {
    let ours = || transfer(TOKEN, ACCOUNT, PAYEE, 100);
    let with = |logs| effect_of(&token(), receipt(FIRST, true, logs));
    let edited = |edit: fn(&mut Log)| {
        let mut log = ours();
        edit(&mut log);
        vec![log]
    };
    assert_eq!(with(vec![ours()]), Effect::Paid);
    let noise = [transfer(PAYEE, ACCOUNT, PAYEE, 100), transfer(TOKEN, PAYEE, ACCOUNT, 9)];
    assert_eq!(with([noise.as_slice(), &[ours()]].concat()), Effect::Paid);
    // It returned false: a success without a transfer.
    assert_eq!(with(Vec::new()), Effect::NotPaid);
    assert_eq!(with(edited(|log| log.address = PAYEE)), Effect::NotPaid);
    assert_eq!(with(edited(|log| log.topics[0] = FIRST)), Effect::NotPaid);
    assert_eq!(with(edited(|log| log.topics.swap(1, 2))), Effect::NotPaid);
    assert_eq!(with(edited(|log| log.topics.truncate(2))), Effect::NotPaid);
    assert_eq!(with(edited(|log| log.topics[2].0[0] = 1)), Effect::NotPaid);
    assert_eq!(with(edited(|log| log.data.truncate(31))), Effect::NotPaid);
    assert_eq!(with(vec![transfer(TOKEN, ACCOUNT, PAYEE, 0)]), Effect::NotPaid);
    let other = |units| Effect::PaidOther { units: U256::from(units) };
    assert_eq!(with(vec![transfer(TOKEN, ACCOUNT, PAYEE, 99)]), other(99), "a fee on transfer");
    assert_eq!(with(vec![ours(), ours()]), other(200));
    let halves = vec![transfer(TOKEN, ACCOUNT, PAYEE, 50), transfer(TOKEN, ACCOUNT, PAYEE, 50)];
    assert_eq!(with(halves), other(100), "one transfer was signed, two are not it");
    assert_eq!(effect_of(&token(), receipt(FIRST, false, vec![ours()])), Effect::Reverted);
}

#[test]
fn the_kept_evidence_names_block_depth_and_amount() {
    let inclusion = Inclusion { tx_hash: FIRST, block_number: 100, block_hash: BLOCK, depth: 3 };
    let text = evidence_text(1, "depth", &view(102), &inclusion, Effect::Paid, &token());
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["block_number"], 100);
    assert_eq!(value["block_hash"], format!("{BLOCK:#x}"));
    assert_eq!(value["depth"], 3);
    assert_eq!((&value["finality"], &value["final_up_to"]), (&"depth".into(), &100.into()));
    assert_eq!(value["base_units_moved"], "100");
    assert_eq!(value["contract"], TOKEN.to_checksum(None));
}

proptest! {
    /// A token payment is Paid only with the full amount in a log of the right contract and
    /// parties, in a canonical block, deep enough.
    #[test]
    fn only_everything_together_is_paid(
        right_contract: bool, right_payee: bool, units in 98_u64..102, succeeded: bool,
        canonical: bool, head in 98_u64..106,
    ) {
        let log = transfer(
            if right_contract { TOKEN } else { PAYEE },
            ACCOUNT,
            if right_payee { PAYEE } else { TOKEN },
            units,
        );
        let hash = if canonical { BLOCK } else { OTHER_BLOCK };
        let view = CanonicalView { hashes: BTreeMap::from([(100, hash)]), ..view(head) };
        let sightings = [sighting(FIRST, Some(receipt(FIRST, succeeded, vec![log])))];
        let paid = matches!(
            judge(&sightings, &token(), &view),
            Evidence::Final(_, Effect::Paid)
        );
        let all = right_contract && right_payee && units == 100 && succeeded && canonical;
        prop_assert_eq!(paid, all && head >= 102);
    }
}
