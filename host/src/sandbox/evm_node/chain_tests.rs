//! The state machine alone: no I/O, and a clock that is an argument.

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Signature, TxKind, U256, keccak256};
use k256::ecdsa::SigningKey;

use super::chain::ChainConfig;
use super::fault::ChainFault;
use super::ledger::TokenConfig;
use super::network::{Fate, Network};
use super::profile::ClientProfile;
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

pub(super) fn network_of(config: ChainConfig, profiles: &[ClientProfile]) -> (Network, Wallet) {
    let mut network = Network::genesis(config, profiles, 0).0;
    let wallet = Wallet::new(1);
    network.chain.ledger.endow(wallet.address, U256::from(10).pow(U256::from(18)));
    (network, wallet)
}

fn network() -> (Network, Wallet) {
    network_of(config(), &[ClientProfile::Geth])
}

/// The hash, or the text of the refusal.
pub(super) fn send_to(network: &mut Network, node: usize, raw: &[u8]) -> Result<B256, String> {
    let profile = network.nodes[node].profile;
    network.send(node, raw).0.map_err(|refusal| profile.answer(&refusal).1)
}

fn send(network: &mut Network, raw: &[u8]) -> Result<B256, String> {
    send_to(network, 0, raw)
}

fn refused(network: &mut Network, raw: &[u8], text: &str) {
    let answer = send(network, raw).expect_err(text);
    assert!(answer.starts_with(text), "{answer:?} does not begin with {text:?}");
}

pub(super) fn paid(network: &Network) -> Vec<(u64, String)> {
    let transfers = view::transfers(&network.chain, 0, u64::MAX);
    transfers.map(|one| (one.nonce, one.amount)).collect()
}

#[test]
fn nodes_refuse_in_the_words_of_geth() {
    let (mut network, wallet) = network();
    let good = payment(0, TO, 1);
    let raw = wallet.sign(good.clone());
    send(&mut network, &raw).unwrap();
    refused(&mut network, &raw, "already known");
    network.advance(INTERVAL_MS);
    refused(&mut network, &raw, "nonce too low: next nonce 1, tx nonce 0");
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
        refused(&mut network, &wallet.sign(transaction), text);
    }
    refused(&mut network, &[2, 1, 2, 3], "rlp: ");
    refused(&mut network, &vec![2; 200_000], "oversized data");
    refused(&mut network, &[4, 0xc0], "");
    refused(&mut network, &[5, 0xc0], "transaction type not supported");
    let mut torn = wallet.sign(with(|_| {}));
    torn.push(0);
    refused(&mut network, &torn, "rlp: ");
}

#[test]
fn a_replacement_must_raise_both_fees_by_ten_percent() {
    let (mut network, wallet) = network();
    let first = send(&mut network, &wallet.sign(payment(0, TO, 1))).unwrap();
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
        refused(&mut network, &wallet.sign(bump(fee, tip)), "replacement transaction underpriced");
    }
    send(&mut network, &wallet.sign(bump(ten(gwei(3)), ten(gwei(1))))).unwrap();
    assert!(network.nodes[0].pool.get(&first).is_none());
    network.advance(INTERVAL_MS);
    assert_eq!(paid(&network), [(0, "2".to_owned())]);
}

#[test]
fn funds_must_cover_everything_that_waits() {
    let (mut network, wallet) = network();
    let half = 500_000_000_000_000_000_u64;
    send(&mut network, &wallet.sign(payment(0, TO, half))).unwrap();
    refused(
        &mut network,
        &wallet.sign(payment(1, TO, half)),
        "insufficient funds for gas * price + value: balance 1000000000000000000, queued cost",
    );
    // A replacement does not count what it replaces.
    let bumped = TxEip1559 {
        max_fee_per_gas: gwei(6),
        max_priority_fee_per_gas: gwei(2),
        ..payment(0, TO, half + 1)
    };
    send(&mut network, &wallet.sign(bumped)).unwrap();
}

#[test]
fn a_gap_holds_up_what_is_above_it_and_nothing_else() {
    let (mut network, wallet) = network();
    for nonce in [3, 1, 0] {
        send(&mut network, &wallet.sign(payment(nonce, TO, nonce + 10))).unwrap();
    }
    assert_eq!(network.nodes[0].pool.next_nonce(wallet.address, &network.chain.ledger), 2);
    network.advance(INTERVAL_MS);
    assert_eq!(paid(&network).len(), 2);
    network.advance(5 * INTERVAL_MS);
    send(&mut network, &wallet.sign(payment(2, TO, 12))).unwrap();
    network.advance(6 * INTERVAL_MS);
    assert_eq!(paid(&network).iter().map(|(nonce, _)| *nonce).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn a_fee_below_the_base_fee_waits_until_it_falls() {
    let (mut network, wallet) = network();
    network.chain.set_base_fee(1, 4_000_000_000);
    send(&mut network, &wallet.sign(payment(0, TO, 1))).unwrap();
    network.advance(10 * INTERVAL_MS);
    assert!(paid(&network).is_empty());
    network.chain.set_base_fee(11, 2_500_000_000);
    network.advance(11 * INTERVAL_MS);
    assert_eq!(paid(&network).len(), 1);
    // The tip is cut to what is left of the fee.
    assert_eq!(network.chain.transactions(11)[0].price, gwei(3));
}

#[test]
fn a_full_block_leaves_the_rest_to_the_next() {
    let small = ChainConfig { block_gas_max: 50_000, ..config() };
    let (mut network, wallet) = network_of(small, &[ClientProfile::Geth]);
    for nonce in 0..5 {
        send(&mut network, &wallet.sign(payment(nonce, TO, 1))).unwrap();
    }
    network.advance(9 * INTERVAL_MS);
    let counts: Vec<usize> = (1..=4).map(|block| network.chain.transactions(block).len()).collect();
    assert_eq!(counts, [2, 2, 1, 0]);
}

#[test]
fn a_reorganisation_gives_other_hashes_and_mines_the_transactions_again() {
    let (mut network, wallet) = network();
    let hash = send(&mut network, &wallet.sign(payment(0, TO, 5))).unwrap();
    network.advance(3 * INTERVAL_MS);
    let before: Vec<_> = (0..=3).map(|n| network.chain.header(n).unwrap()).collect();
    let balance = network.chain.ledger.balance(wallet.address);
    network.reorganise(3, Fate::Wait);
    assert!(network.chain.find_mined(&hash).is_none() && paid(&network).is_empty());
    assert_eq!(network.chain.ledger.nonce(wallet.address), 0);
    let after: Vec<_> = (0..=3).map(|n| network.chain.header(n).unwrap()).collect();
    assert_eq!(before[0], after[0]);
    for n in 1..=3 {
        assert_ne!(before[n].hash, after[n].hash);
        assert_eq!(after[n].parent_hash, after[n - 1].hash);
    }
    network.advance(4 * INTERVAL_MS);
    assert_eq!(network.chain.find_mined(&hash).unwrap().0, 4);
    assert_eq!(network.chain.ledger.balance(wallet.address), balance);
    network.reorganise(1, Fate::Dropped);
    network.advance(9 * INTERVAL_MS);
    assert!(paid(&network).is_empty() && network.nodes[0].pool.is_empty());
}

#[test]
fn the_records_make_the_same_chain_again() {
    let (mut network, genesis) = Network::genesis(config(), &[ClientProfile::Geth], 77);
    let wallet = Wallet::new(1);
    let amount = U256::from(10).pow(U256::from(18));
    let mut records = vec![genesis];
    network.chain.ledger.endow(wallet.address, amount);
    records.push(Record::Endowed {
        account: wallet.address.to_string(),
        contract: None,
        amount: amount.to_string(),
    });
    for step in 0..40_u64 {
        records.extend(network.advance(77 + step * 100));
        let raw = wallet.sign(payment(step, TO, step + 1));
        records.extend(network.send(0, &raw).1);
        if step % 9 == 8 {
            records.push(network.reorganise(step % 4, Fate::Wait));
        }
        if step % 11 == 10 {
            let hash = network.nodes[0].pool.all().first().map(|held| held.hash);
            records.extend(ChainFault::Evict { hash }.carry_out(&mut network));
        }
    }
    records.extend(network.advance(77 + 100_000));
    let mut again = Network::genesis(config(), &[ClientProfile::Geth], 0).0;
    for record in &records {
        let line = serde_json::to_string(record).unwrap();
        again.apply(&serde_json::from_str(&line).unwrap()).unwrap();
    }
    again.resume(77 + 100_000);
    assert!(!paid(&network).is_empty());
    assert_eq!(paid(&again), paid(&network));
    assert_eq!(
        again.chain.ledger.balance(wallet.address),
        network.chain.ledger.balance(wallet.address)
    );
    assert_eq!(again.nodes[0].pool.len(), network.nodes[0].pool.len());
    for number in 0..=network.chain.height() {
        assert_eq!(again.chain.header(number), network.chain.header(number));
    }
}
