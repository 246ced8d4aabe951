//! Several nodes over one chain: gossip, builders, attempts, histories. No I/O, and a clock that is
//! an argument.

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, U256};

use super::chain_tests::{Wallet, config, gwei, network_of, paid, payment, send_to};
use super::fault::{ChainFault, NodeTrouble, heal, heal_node};
use super::network::{Fate, Network};
use super::profile::ClientProfile;
use super::record::Record;
use super::witness::inclusions;

const TO: Address = Address::repeat_byte(0xbb);
const INTERVAL_MS: u64 = 250;

fn three() -> (Network, Wallet) {
    network_of(config(), &[ClientProfile::Geth, ClientProfile::Reth, ClientProfile::Besu])
}

fn pools(network: &Network) -> Vec<usize> {
    network.nodes.iter().map(|node| node.pool.len()).collect()
}

/// The next `blocks` blocks come.
fn pass(network: &mut Network, blocks: u64) -> Vec<Record> {
    network.advance((network.chain.height() + blocks) * INTERVAL_MS)
}

fn bumped(nonce: u64, value: u64) -> TxEip1559 {
    TxEip1559 {
        max_fee_per_gas: gwei(6),
        max_priority_fee_per_gas: gwei(2),
        ..payment(nonce, TO, value)
    }
}

#[test]
fn what_one_node_takes_all_have() {
    let (mut network, wallet) = three();
    send_to(&mut network, 1, &wallet.sign(payment(0, TO, 5))).unwrap();
    assert_eq!(pools(&network), [1, 1, 1]);
    pass(&mut network, 1);
    assert_eq!(pools(&network), [0, 0, 0]);
    assert_eq!(paid(&network).len(), 1);
}

#[test]
fn a_silent_node_takes_what_is_never_mined_until_it_speaks_again() {
    let (mut network, wallet) = three();
    NodeTrouble::Silent.carry_out(&mut network, 0);
    let raw = wallet.sign(payment(0, TO, 5));
    send_to(&mut network, 0, &raw).unwrap();
    assert_eq!(pools(&network), [1, 0, 0]);
    pass(&mut network, 9);
    assert!(paid(&network).is_empty());
    assert_eq!(send_to(&mut network, 0, &raw).unwrap_err(), "already known");
    // What others have reaches it all the same.
    let other = Wallet::new(2);
    network.chain.ledger.endow(other.address, U256::from(10).pow(U256::from(18)));
    send_to(&mut network, 2, &other.sign(payment(0, TO, 7))).unwrap();
    assert_eq!(pools(&network), [2, 1, 1]);
    heal_node(&mut network, 0);
    assert_eq!(pools(&network), [2, 2, 2]);
    pass(&mut network, 1);
    assert_eq!(paid(&network).len(), 2);
}

#[test]
fn an_isolated_node_hears_nothing_and_holds_another_attempt() {
    let (mut network, wallet) = three();
    NodeTrouble::Isolated.carry_out(&mut network, 2);
    send_to(&mut network, 0, &wallet.sign(payment(0, TO, 1))).unwrap();
    send_to(&mut network, 2, &wallet.sign(bumped(0, 2))).unwrap();
    assert_eq!(pools(&network), [1, 1, 1]);
    pass(&mut network, 1);
    assert_eq!(paid(&network), [(0, "1".to_owned())]);
    assert_eq!(pools(&network), [0, 0, 0], "it follows the chain");
    heal(&mut network);
    assert_eq!(pools(&network), [0, 0, 0]);
}

#[test]
fn nodes_of_several_clients_disagree_about_a_bump() {
    let (mut network, wallet) = three();
    let fees = |fee: u128, tip: u128, value: u64| TxEip1559 {
        max_fee_per_gas: fee,
        max_priority_fee_per_gas: tip,
        ..payment(0, TO, value)
    };
    send_to(&mut network, 0, &wallet.sign(fees(3_000_000_001, 1_000_000_001, 1))).unwrap();
    // Ten percent, rounded down: enough for geth and Besu, a wei short for reth.
    let raised = wallet.sign(fees(3_300_000_001, 1_100_000_001, 2));
    assert_eq!(
        send_to(&mut network, 1, &raised).unwrap_err(),
        "replacement transaction underpriced"
    );
    let hash = send_to(&mut network, 0, &raised).unwrap();
    let holds: Vec<bool> =
        network.nodes.iter().map(|node| node.pool.get(&hash).is_some()).collect();
    assert_eq!(holds, [true, false, true]);
    // Whose turn it is decides which of the two is mined: block 1 is reth's.
    pass(&mut network, 1);
    assert_eq!(paid(&network), [(0, "1".to_owned())]);
}

#[test]
fn blocks_can_hold_the_first_attempt_although_it_was_replaced() {
    let (mut network, wallet) = network_of(config(), &[ClientProfile::Geth]);
    ChainFault::MineFirstAttempts(true).carry_out(&mut network);
    send_to(&mut network, 0, &wallet.sign(payment(0, TO, 1))).unwrap();
    send_to(&mut network, 0, &wallet.sign(bumped(0, 2))).unwrap();
    pass(&mut network, 1);
    assert_eq!(paid(&network), [(0, "1".to_owned())]);
    assert_eq!(pools(&network), [0]);
}

#[test]
fn a_transaction_that_every_node_refused_or_lost_can_still_be_mined() {
    let (mut network, wallet) = network_of(config(), &[ClientProfile::Geth]);
    let mut records = Vec::new();
    send_to(&mut network, 0, &wallet.sign(payment(0, TO, 1))).unwrap();
    let small = TxEip1559 { max_fee_per_gas: gwei(3) + 1, ..payment(0, TO, 2) };
    let small = wallet.sign(small);
    records.extend(network.send(0, &small).1);
    assert!(matches!(records[0], Record::Heard { .. }));
    assert!(network.send(0, &small).1.is_empty(), "it is heard of once");
    let hash = alloy_primitives::keccak256(&small);
    ChainFault::Include { hash }.carry_out(&mut network);
    pass(&mut network, 1);
    assert_eq!(paid(&network), [(0, "2".to_owned())]);
}

#[test]
fn a_reorganisation_can_swap_which_attempt_is_mined() {
    let (mut network, wallet) = three();
    send_to(&mut network, 0, &wallet.sign(payment(0, TO, 1))).unwrap();
    send_to(&mut network, 0, &wallet.sign(bumped(0, 2))).unwrap();
    pass(&mut network, 1);
    assert_eq!(paid(&network), [(0, "2".to_owned())]);
    ChainFault::Reorganise { blocks: 1, fate: Fate::Swapped }.carry_out(&mut network);
    assert!(paid(&network).is_empty());
    pass(&mut network, 1);
    assert_eq!(paid(&network), [(0, "1".to_owned())]);
    let all = inclusions(&network.chain);
    let told: Vec<(bool, &str)> =
        all.iter().map(|one| (one.is_canonical, one.transfers[0].amount.as_str())).collect();
    assert_eq!(told, [(false, "2"), (true, "1")]);
    assert_ne!(all[0].block_hash, all[1].block_hash);
    assert_eq!(all[1].fee_wei, U256::from(21_000) * U256::from(gwei(2)));
}

#[test]
fn a_revert_can_become_a_success_in_another_history() {
    let (mut network, wallet) = network_of(config(), &[ClientProfile::Geth]);
    let token = super::chain_tests::TOKEN;
    network.chain.ledger.endow_token(token, wallet.address, U256::from(10));
    let behaviour = super::erc20::TokenBehaviour::Paused;
    ChainFault::Token { contract: token, behaviour }.carry_out(&mut network);
    let call = TxEip1559 {
        gas_limit: 100_000,
        input: super::chain_tests::transfer_call(TO, 10).into(),
        ..payment(0, token, 0)
    };
    send_to(&mut network, 0, &wallet.sign(call)).unwrap();
    pass(&mut network, 1);
    assert!(!inclusions(&network.chain)[0].succeeded);
    let behaviour = super::erc20::TokenBehaviour::Standard;
    ChainFault::Token { contract: token, behaviour }.carry_out(&mut network);
    ChainFault::Reorganise { blocks: 1, fate: Fate::Wait }.carry_out(&mut network);
    pass(&mut network, 1);
    let all = inclusions(&network.chain);
    assert_eq!(all.iter().map(|one| one.succeeded).collect::<Vec<_>>(), [false, true]);
    assert_eq!(paid(&network), [(0, "10".to_owned())]);
}

#[test]
fn a_price_spike_ends_by_itself_and_what_waited_is_mined() {
    let (mut network, wallet) = network_of(config(), &[ClientProfile::Geth]);
    let wei = 50_000_000_000;
    ChainFault::BaseFee { wei, blocks: Some(4) }.carry_out(&mut network);
    send_to(&mut network, 0, &wallet.sign(payment(0, TO, 1))).unwrap();
    // All of them at once: nobody looked in between.
    pass(&mut network, 9);
    assert_eq!(network.chain.find_mined(&inclusions(&network.chain)[0].tx_hash).unwrap().0, 5);
    assert_eq!(network.chain.base_fee(4), wei);
}

#[test]
fn nethermind_calls_evicted_bytes_known_for_a_while() {
    let (mut network, wallet) = network_of(config(), &[ClientProfile::Nethermind]);
    let raw = wallet.sign(payment(0, TO, 1));
    send_to(&mut network, 0, &raw).unwrap();
    network.evict(None, None);
    for _ in 0..2 {
        assert_eq!(send_to(&mut network, 0, &raw).unwrap_err(), "already known");
        pass(&mut network, 1);
    }
    assert!(paid(&network).is_empty());
    pass(&mut network, 1);
    send_to(&mut network, 0, &raw).unwrap();
}

#[test]
fn a_network_is_found_again_from_its_records() {
    let profiles = [ClientProfile::Geth, ClientProfile::Reth];
    let (mut network, genesis) = Network::genesis(config(), &profiles, 0);
    let mut records = vec![genesis];
    let wallet = Wallet::new(1);
    let amount = U256::from(10).pow(U256::from(18));
    network.chain.ledger.endow(wallet.address, amount);
    records.push(Record::Endowed {
        account: wallet.address.to_string(),
        contract: None,
        amount: amount.to_string(),
    });
    for step in 0..30_u64 {
        records.extend(pass(&mut network, 1));
        let nonce = network.chain.ledger.nonce(wallet.address);
        let node = usize::try_from(step % 2).unwrap();
        records.extend(network.send(node, &wallet.sign(payment(nonce, TO, step))).1);
        if step % 3 == 0 {
            records.extend(network.send(node, &wallet.sign(bumped(nonce, step + 100))).1);
        }
        match step % 7 {
            2 => {
                let fault = ChainFault::Reorganise { blocks: step % 4, fate: Fate::Swapped };
                records.extend(fault.carry_out(&mut network));
            }
            4 => records.extend(network.evict(Some(node), None)),
            5 => {
                NodeTrouble::Silent.carry_out(&mut network, node);
            }
            6 => records.extend(heal(&mut network)),
            _ => {}
        }
    }
    records.extend(pass(&mut network, 5));
    let mut again = Network::genesis(config(), &profiles, 0).0;
    for record in &records {
        let line = serde_json::to_string(record).unwrap();
        again.apply(&serde_json::from_str(&line).unwrap()).unwrap();
    }
    again.resume(network.chain.height() * INTERVAL_MS);
    assert!(paid(&network).len() > 5);
    assert_eq!(inclusions(&again.chain), inclusions(&network.chain));
    assert_eq!(pools(&again), pools(&network));
}
