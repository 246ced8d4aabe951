//! The state machine alone: no I/O, and a clock that is an argument.

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Signature, TxKind, U256, keccak256};
use k256::ecdsa::SigningKey;

use super::chain::{Chain, ChainConfig};
use super::fault::ChainFault;
use super::ledger::TokenConfig;
use super::record::Record;
use super::view;

pub(super) const TOKEN: Address = Address::repeat_byte(0x70);
const TO: Address = Address::repeat_byte(0xbb);
const INTERVAL_MS: u64 = 250;

pub(super) const fn gwei(amount: u64) -> u128 {
    amount as u128 * 1_000_000_000
}

pub(super) fn config() -> ChainConfig {
    ChainConfig {
        tokens: vec![TokenConfig { contract: TOKEN, symbol: "USDC".to_owned(), decimals: 6 }],
        block_interval_ms: INTERVAL_MS,
        ..ChainConfig::default()
    }
}

pub(super) struct Wallet {
    key: SigningKey,
    pub(super) address: Address,
}

impl Wallet {
    pub(super) fn new(seed: u8) -> Self {
        let key = SigningKey::from_slice(&[seed; 32]).unwrap();
        let point = key.verifying_key().to_encoded_point(false);
        let address = Address::from_slice(&keccak256(&point.as_bytes()[1..])[12..]);
        Self { key, address }
    }

    pub(super) fn sign(&self, transaction: TxEip1559) -> Vec<u8> {
        let digest = transaction.signature_hash();
        let signed = self.key.sign_prehash_recoverable(digest.as_slice()).unwrap();
        transaction.into_signed(Signature::from(signed)).encoded_2718()
    }
}

pub(super) fn payment(nonce: u64, to: Address, value: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: 31_337,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: gwei(3),
        max_priority_fee_per_gas: gwei(1),
        to: TxKind::Call(to),
        value: U256::from(value),
        ..TxEip1559::default()
    }
}

pub(super) fn transfer_call(to: Address, amount: u64) -> Vec<u8> {
    let mut data = vec![0xa9, 0x05, 0x9c, 0xbb];
    data.extend(to.into_word());
    data.extend(U256::from(amount).to_be_bytes::<32>());
    data
}

fn chain() -> (Chain, Wallet) {
    let mut chain = Chain::genesis(config(), 0).0;
    let wallet = Wallet::new(1);
    chain.ledger.endow(wallet.address, U256::from(10).pow(U256::from(18)));
    (chain, wallet)
}

/// The hash, or the text of the refusal.
fn send(chain: &mut Chain, raw: &[u8]) -> Result<B256, String> {
    let decoded = chain.judge(raw).map_err(|refusal| chain.config.profile.answer(&refusal).1)?;
    let hash = decoded.hash;
    chain.pool.insert(decoded);
    Ok(hash)
}

fn refused(chain: &mut Chain, raw: &[u8], text: &str) {
    let answer = send(chain, raw).expect_err(text);
    assert!(answer.starts_with(text), "{answer:?} does not begin with {text:?}");
}

fn paid(chain: &Chain) -> Vec<(u64, String)> {
    view::transfers(chain, 0, u64::MAX - 1).map(|one| (one.nonce, one.amount)).collect()
}

#[test]
fn nodes_refuse_in_the_words_of_geth() {
    let (mut chain, wallet) = chain();
    let good = payment(0, TO, 1);
    let raw = wallet.sign(good.clone());
    send(&mut chain, &raw).unwrap();
    refused(&mut chain, &raw, "already known");
    chain.advance(INTERVAL_MS);
    refused(&mut chain, &raw, "nonce too low: next nonce 1, tx nonce 0");
    let with = |change: fn(&mut TxEip1559)| {
        let mut transaction = TxEip1559 { nonce: 1, ..good.clone() };
        change(&mut transaction);
        transaction
    };
    for (transaction, text) in [
        (
            with(|t| t.chain_id = 1),
            "invalid sender: invalid chain id for signer: have 1 want 31337",
        ),
        (with(|t| t.gas_limit = 20_999), "intrinsic gas too low: gas 20999, minimum needed 21000"),
        (with(|t| t.input = vec![1; 100].into()), "intrinsic gas too low"),
        (
            with(|t| {
                t.input = vec![1; 100].into();
                t.gas_limit = 23_000;
            }),
            "insufficient gas for floor data gas cost: gas 23000, minimum needed 25000",
        ),
        (with(|t| t.gas_limit = 30_000_001), "exceeds block gas limit"),
        (
            with(|t| t.max_priority_fee_per_gas = gwei(4)),
            "max priority fee per gas higher than max fee per gas",
        ),
        (with(|t| t.max_priority_fee_per_gas = 0), "transaction underpriced"),
        (with(|t| t.nonce = u64::MAX), "nonce has max value"),
        (
            with(|t| t.max_fee_per_gas = gwei(50_000)),
            "tx fee (1.05 ether) exceeds the configured cap (1.00 ether)",
        ),
        (
            with(|t| t.value = U256::from(10).pow(U256::from(18))),
            "insufficient funds for gas * price + value: balance ",
        ),
    ] {
        refused(&mut chain, &wallet.sign(transaction), text);
    }
    refused(&mut chain, &[2, 1, 2, 3], "rlp: ");
    refused(&mut chain, &vec![2; 200_000], "oversized data");
    refused(&mut chain, &[4, 0xc0], "");
    refused(&mut chain, &[5, 0xc0], "transaction type not supported");
    let mut torn = wallet.sign(with(|_| {}));
    torn.push(0);
    refused(&mut chain, &torn, "rlp: ");
}

#[test]
fn a_replacement_must_raise_both_fees_by_ten_percent() {
    let (mut chain, wallet) = chain();
    let first = send(&mut chain, &wallet.sign(payment(0, TO, 1))).unwrap();
    let bump = |fee: u128, tip: u128| TxEip1559 {
        max_fee_per_gas: fee,
        max_priority_fee_per_gas: tip,
        ..payment(0, TO, 2)
    };
    let ten = |old: u128| old * 110 / 100;
    for (fee, tip) in [
        (gwei(3), gwei(1)),
        (ten(gwei(3)), gwei(1)),
        (gwei(3), ten(gwei(1))),
        (ten(gwei(3)) - 1, ten(gwei(1))),
        (ten(gwei(3)), ten(gwei(1)) - 1),
    ] {
        refused(&mut chain, &wallet.sign(bump(fee, tip)), "replacement transaction underpriced");
    }
    send(&mut chain, &wallet.sign(bump(ten(gwei(3)), ten(gwei(1))))).unwrap();
    assert!(chain.pool.get(&first).is_none());
    chain.advance(INTERVAL_MS);
    assert_eq!(paid(&chain), [(0, "2".to_owned())]);
}

#[test]
fn funds_must_cover_everything_that_waits() {
    let (mut chain, wallet) = chain();
    let half = 500_000_000_000_000_000_u64;
    send(&mut chain, &wallet.sign(payment(0, TO, half))).unwrap();
    refused(
        &mut chain,
        &wallet.sign(payment(1, TO, half)),
        "insufficient funds for gas * price + value: balance 1000000000000000000, queued cost",
    );
    // A replacement does not count what it replaces.
    let bumped = TxEip1559 {
        max_fee_per_gas: gwei(6),
        max_priority_fee_per_gas: gwei(2),
        ..payment(0, TO, half + 1)
    };
    send(&mut chain, &wallet.sign(bumped)).unwrap();
}

#[test]
fn a_gap_holds_up_what_is_above_it_and_nothing_else() {
    let (mut chain, wallet) = chain();
    for nonce in [3, 1, 0] {
        send(&mut chain, &wallet.sign(payment(nonce, TO, nonce + 10))).unwrap();
    }
    assert_eq!(chain.pool.next_nonce(wallet.address, &chain.ledger), 2);
    chain.advance(INTERVAL_MS);
    assert_eq!(paid(&chain).len(), 2);
    chain.advance(5 * INTERVAL_MS);
    send(&mut chain, &wallet.sign(payment(2, TO, 12))).unwrap();
    chain.advance(6 * INTERVAL_MS);
    assert_eq!(paid(&chain).iter().map(|(nonce, _)| *nonce).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn a_fee_below_the_base_fee_waits_until_it_falls() {
    let (mut chain, wallet) = chain();
    chain.set_base_fee(4_000_000_000);
    send(&mut chain, &wallet.sign(payment(0, TO, 1))).unwrap();
    chain.advance(10 * INTERVAL_MS);
    assert!(paid(&chain).is_empty());
    chain.set_base_fee(2_500_000_000);
    chain.advance(11 * INTERVAL_MS);
    assert_eq!(paid(&chain).len(), 1);
    // The tip is cut to what is left of the fee.
    assert_eq!(chain.transactions(11)[0].price, gwei(3));
}

#[test]
fn a_full_block_leaves_the_rest_to_the_next() {
    let mut chain = Chain::genesis(ChainConfig { block_gas_max: 50_000, ..config() }, 0).0;
    let wallet = Wallet::new(1);
    chain.ledger.endow(wallet.address, U256::from(10).pow(U256::from(18)));
    for nonce in 0..5 {
        send(&mut chain, &wallet.sign(payment(nonce, TO, 1))).unwrap();
    }
    chain.advance(9 * INTERVAL_MS);
    let counts: Vec<usize> = (1..=4).map(|block| chain.transactions(block).len()).collect();
    assert_eq!(counts, [2, 2, 1, 0]);
}

#[test]
fn a_reorganisation_gives_other_hashes_and_mines_the_transactions_again() {
    let (mut chain, wallet) = chain();
    let hash = send(&mut chain, &wallet.sign(payment(0, TO, 5))).unwrap();
    chain.advance(3 * INTERVAL_MS);
    let before: Vec<_> = (0..=3).map(|n| chain.header(n).unwrap()).collect();
    let balance = chain.ledger.balance(wallet.address);
    chain.reorganise(3, true);
    assert!(chain.find_mined(&hash).is_none() && paid(&chain).is_empty());
    assert_eq!(chain.ledger.nonce(wallet.address), 0);
    let after: Vec<_> = (0..=3).map(|n| chain.header(n).unwrap()).collect();
    assert_eq!(before[0], after[0]);
    for n in 1..=3 {
        assert_ne!(before[n].hash, after[n].hash);
        assert_eq!(after[n].parent_hash, after[n - 1].hash);
    }
    chain.advance(4 * INTERVAL_MS);
    assert_eq!(chain.find_mined(&hash).unwrap().0, 4);
    assert_eq!(chain.ledger.balance(wallet.address), balance);
    chain.reorganise(1, false);
    chain.advance(9 * INTERVAL_MS);
    assert!(paid(&chain).is_empty() && chain.pool.is_empty());
}

#[test]
fn the_records_make_the_same_chain_again() {
    let (mut chain, genesis) = Chain::genesis(config(), 77);
    let wallet = Wallet::new(1);
    let amount = U256::from(10).pow(U256::from(18));
    let mut records = vec![genesis];
    chain.ledger.endow(wallet.address, amount);
    records.push(Record::Endowed {
        account: wallet.address.to_string(),
        contract: None,
        amount: amount.to_string(),
    });
    for step in 0..40_u64 {
        records.extend(chain.advance(77 + step * 100));
        let raw = wallet.sign(payment(step, TO, step + 1));
        let _ = send(&mut chain, &raw).map(|_| records.push(Record::accepted(&raw)));
        if step % 9 == 8 {
            records.push(chain.reorganise(step % 4, true));
        }
        if step % 11 == 10 {
            let evict = ChainFault::Evict { hash: chain.pool.hashes().into_iter().min() };
            records.extend(evict.carry_out(&mut chain));
        }
    }
    records.extend(chain.advance(77 + 100_000));
    let mut again = Chain::genesis(config(), 0).0;
    for record in &records {
        let line = serde_json::to_string(record).unwrap();
        again.apply(&serde_json::from_str(&line).unwrap()).unwrap();
    }
    again.resume(77 + 100_000);
    assert!(!paid(&chain).is_empty());
    assert_eq!(paid(&again), paid(&chain));
    assert_eq!(again.ledger.balance(wallet.address), chain.ledger.balance(wallet.address));
    assert_eq!(again.pool.len(), chain.pool.len());
    for number in 0..=chain.height() {
        assert_eq!(again.header(number), chain.header(number));
    }
}
