//! Deterministic EVM nodes over one chain, spoken to in JSON-RPC, over HTTP or in process.
//!
//! `network` is a state machine that is told the time: the chain, and the nodes, each with a pool,
//! a client's rules and words (`profile`) and its troubles (`fault`). This file is its edge: it asks
//! the clock, writes the journal before anything is answered, and serves. Blocks come by time, so
//! the height never goes back over a restart. `transfers`, `inclusions` and `sightings` show what
//! was really paid, what was ever mined, and what the nodes were sent.

mod answer;
mod block;
mod chain;
mod erc20;
mod fault;
mod fault_request;
mod history;
mod http;
mod ledger;
mod methods;
mod mining;
mod network;
mod node;
mod params;
mod pool;
mod profile;
mod reader;
mod record;
mod refusal;
mod rpc;
mod shared;
mod transaction;
mod view;
mod witness;

#[cfg(test)]
mod chain_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod network_tests;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::{Address, U256};
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::fault::Switch;
use super::journal::{Journal, JournalError};
use super::server::Server;
use super::{Clock, SandboxError};
use network::Network;
use record::Record;
use shared::{Shared, State};
use witness::HookSlot;

pub use answer::NodeAnswer;
pub use chain::ChainConfig;
pub use erc20::TokenBehaviour;
pub use fault::{ChainFault, NodeFault, NodeTrouble, ReceiptLie};
pub use ledger::TokenConfig;
pub use network::Fate;
pub use profile::ClientProfile;
pub use view::Transfer;
pub use witness::{Inclusion, Sighting};

/// A chain and its nodes, which are named by their place: 0 is the first. Copies are the same
/// network.
#[derive(Debug, Clone)]
pub struct EvmNetwork {
    shared: Arc<Shared>,
}

/// One node of a network, served over HTTP. Dropping it stops it.
#[derive(Debug)]
pub struct EvmNode {
    network: EvmNetwork,
    server: Server,
    /// Whether the journal is closed with it.
    is_alone: bool,
}

impl EvmNetwork {
    /// A network that nothing outlives.
    ///
    /// # Panics
    /// Never: without a node there is one of the configured client.
    #[must_use]
    pub fn in_memory(config: ChainConfig, nodes: &[ClientProfile], clock: Clock) -> Self {
        let one = [config.profile];
        let nodes = if nodes.is_empty() { one.as_slice() } else { nodes };
        let (network, _) = Network::genesis(config, nodes, clock.now_ms());
        Self::new(network, None, clock)
    }

    /// Reads the journal. A chain that exists keeps its block interval.
    ///
    /// # Errors
    /// The journal cannot be read or is of another chain, or of a network with more nodes.
    pub fn open(
        journal: &Path,
        config: ChainConfig,
        nodes: &[ClientProfile],
        clock: Clock,
    ) -> Result<Self, SandboxError> {
        let now_ms = clock.now_ms();
        let one = [config.profile];
        let nodes = if nodes.is_empty() { one.as_slice() } else { nodes };
        let (mut network, genesis) = Network::genesis(config, nodes, now_ms);
        let mut is_new = true;
        let journal = Journal::open(journal, |record: Record| {
            is_new = false;
            network.apply(&record)
        })?;
        if is_new {
            journal.append(&genesis)?;
        }
        network.resume(now_ms);
        Ok(Self::new(network, Some(journal), clock))
    }

    fn new(network: Network, journal: Option<Journal>, clock: Clock) -> Self {
        let faults = network.nodes.iter().map(|_| Switch::default()).collect();
        let shared = Shared {
            state: Mutex::new(State::new(network)),
            journal,
            faults,
            clock,
            stop: CancellationToken::new(),
            hook: Mutex::new(HookSlot::default()),
            garbage: AtomicUsize::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// How many nodes there are.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.shared.faults.len()
    }

    /// Serves one node over HTTP.
    ///
    /// # Errors
    /// The listener is of no use.
    ///
    /// # Panics
    /// There is no such node.
    pub fn serve(&self, node: usize, listener: TcpListener) -> Result<EvmNode, SandboxError> {
        assert!(node < self.node_count(), "there is no node {node}");
        let stop = self.shared.stop.child_token();
        let router = http::router(Arc::clone(&self.shared), node, stop.clone());
        let server = Server::start("node", listener, router, stop)
            .map_err(|source| SandboxError::Serve { stand_in: "node", source })?;
        Ok(EvmNode { network: self.clone(), server, is_alone: false })
    }

    /// Answers JSON-RPC in process, as the node would over HTTP.
    ///
    /// # Panics
    /// There is no such node.
    pub async fn answer(&self, node: usize, body: &[u8]) -> NodeAnswer {
        answer::answer(&self.shared, node, body, &self.shared.stop).await
    }

    /// Lets so many blocks pass where the clock is a test's. The system's is not moved.
    pub fn pass_blocks(&self, blocks: u64) {
        let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let interval_ms = state.network.chain.config.block_interval_ms;
        match &self.shared.clock {
            Clock::Manual(now_ms) => {
                now_ms.fetch_add(blocks.saturating_mul(interval_ms), Ordering::SeqCst);
            }
            Clock::System => {}
        }
    }

    /// Gives an account of the chain's own coin, as if it had always had it.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn fund(&self, account: Address, wei: U256) -> Result<(), JournalError> {
        self.shared.change(|network| ((), vec![endow(network, account, None, wei)]))
    }

    /// Gives an account of a built-in token, in base units, as if it had always had it. Nothing
    /// happens where there is no such token.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn fund_token(
        &self,
        contract: Address,
        account: Address,
        units: U256,
    ) -> Result<(), JournalError> {
        self.shared.change(|network| ((), vec![endow(network, account, Some(contract), units)]))
    }

    /// Gives an account both, unless it was given of the chain's own coin before.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn fund_once(
        &self,
        account: Address,
        wei: U256,
        tokens: &[(Address, U256)],
    ) -> Result<(), JournalError> {
        self.shared.change(|network| {
            if network.chain.ledger.is_endowed(account) {
                return ((), Vec::new());
            }
            let mut records = vec![endow(network, account, None, wei)];
            for (contract, units) in tokens {
                records.push(endow(network, account, Some(*contract), *units));
            }
            ((), records)
        })
    }

    /// What an account has of the chain's own coin now, in wei.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn balance(&self, account: Address) -> Result<U256, JournalError> {
        self.shared.read(|network| network.chain.ledger.balance(account))
    }

    /// What an account has of a token now, in base units; nothing where there is no such token.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn token_balance(&self, contract: Address, owner: Address) -> Result<U256, JournalError> {
        self.shared.read(|network| {
            let token = network.chain.ledger.token(contract);
            token.map(|token| token.balance_at(owner, u64::MAX)).unwrap_or_default()
        })
    }

    /// Every transfer on the canonical chain, oldest first.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn transfers(&self) -> Result<Vec<Transfer>, JournalError> {
        self.shared.read(|network| view::transfers(&network.chain, 0, u64::MAX).collect())
    }

    /// Everything that was ever in a block, over all histories: first what reorganisations took
    /// back, oldest first, then what is on the chain now.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn inclusions(&self) -> Result<Vec<Inclusion>, JournalError> {
        self.shared.read(|network| witness::inclusions(&network.chain))
    }

    /// Every byte string that a node was sent since the start of the process, in order, a million
    /// at most.
    #[must_use]
    pub fn sightings(&self) -> Vec<Sighting> {
        self.shared.sightings()
    }

    /// Calls `hook` with the node and the bytes, and waits for it, before a node looks at bytes
    /// that it was sent: there a test can ask whether the store has them.
    pub fn on_bytes(
        &self,
        hook: impl Fn(usize, Vec<u8>) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) {
        let mut slot = self.shared.hook.lock().unwrap_or_else(PoisonError::into_inner);
        slot.0 = Some(Arc::new(hook));
    }

    /// The newest block.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn height(&self) -> Result<u64, JournalError> {
        self.shared.read(|network| network.chain.height())
    }

    /// Lets a node's answers fail, instead of the fault that was set before. `count`: how many;
    /// none means until it is cleared.
    ///
    /// # Panics
    /// There is no such node.
    pub fn set_fault(&self, node: usize, fault: NodeFault, count: Option<u32>) {
        self.shared.faults[node].set(fault, count);
    }

    /// Something is wrong with a node from now on.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn trouble(&self, node: usize, trouble: NodeTrouble) -> Result<(), JournalError> {
        self.shared.change(|network| ((), trouble.carry_out(network, node)))
    }

    /// Changes the chain's course.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn disturb(&self, fault: ChainFault) -> Result<(), JournalError> {
        self.shared.change(|network| ((), fault.carry_out(network)))
    }

    /// Ends the faults and troubles of one node, which tells the others what it holds.
    ///
    /// # Errors
    /// The journal cannot be written.
    ///
    /// # Panics
    /// There is no such node.
    pub fn heal_node(&self, node: usize) -> Result<(), JournalError> {
        self.shared.faults[node].clear();
        self.shared.change(|network| ((), fault::heal_node(network, node)))
    }

    /// Ends every fault that lasts, and every trouble.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn heal(&self) -> Result<(), JournalError> {
        self.shared.heal()
    }
}

impl EvmNode {
    /// A network of one node, with a journal, served over HTTP.
    ///
    /// # Errors
    /// The journal cannot be read or is of another chain, or the listener is of no use.
    pub fn start(
        journal: &Path,
        listener: TcpListener,
        config: ChainConfig,
        clock: Clock,
    ) -> Result<Self, SandboxError> {
        let mut node = EvmNetwork::open(journal, config, &[], clock)?.serve(0, listener)?;
        node.is_alone = true;
        Ok(node)
    }

    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    #[must_use]
    pub fn network(&self) -> &EvmNetwork {
        &self.network
    }

    /// Finishes the requests in hand and stops.
    pub async fn shutdown(mut self) {
        self.server.stop().await;
    }
}

fn endow(
    network: &mut Network,
    account: Address,
    contract: Option<Address>,
    amount: U256,
) -> Record {
    let ledger = &mut network.chain.ledger;
    match contract {
        None => ledger.endow(account, amount),
        Some(contract) => ledger.endow_token(contract, account, amount),
    }
    Record::Endowed {
        account: account.to_string(),
        contract: contract.map(|contract| contract.to_string()),
        amount: amount.to_string(),
    }
}

impl Drop for EvmNode {
    fn drop(&mut self) {
        // A connection may outlive this for a moment; it must not write behind the back of the
        // next one who opens the file.
        if let Some(journal) = self.network.shared.journal.as_ref().filter(|_| self.is_alone) {
            journal.close();
        }
    }
}
