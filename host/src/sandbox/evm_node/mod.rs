//! A deterministic EVM node, spoken to in JSON-RPC over HTTP.
//!
//! `chain` is a state machine that is told the time; this file is its edge: it asks the clock,
//! writes the journal before anything is answered, and serves. Blocks come by time, so the height
//! never goes back over a restart. `GET /transfers` shows what was really paid.

mod block;
mod chain;
mod erc20;
mod fault;
mod history;
mod http;
mod ledger;
mod methods;
mod params;
mod pool;
mod record;
mod refusal;
mod rpc;
mod transaction;
mod view;

#[cfg(test)]
mod chain_tests;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::{Address, U256};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::fault::Switch;
use super::journal::{Journal, JournalError};
use super::server::Server;
use super::{Clock, SandboxError};
use chain::Chain;
use record::Record;

pub use chain::ChainConfig;
pub use fault::{ChainFault, NodeFault};
pub use ledger::TokenConfig;
pub use refusal::ClientProfile;
pub use view::Transfer;

/// A running node. Dropping it stops it.
#[derive(Debug)]
pub struct EvmNode {
    shared: Arc<Shared>,
    server: Server,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    journal: Journal,
    faults: Switch<NodeFault>,
    clock: Clock,
    stop: CancellationToken,
}

#[derive(Debug)]
struct State {
    chain: Chain,
    /// The journal could not be written, so the chain in memory is ahead of it. Nothing of that
    /// may be seen; only a restart helps.
    broken: bool,
}

/// A change of the chain: the answer, and what the journal must have before it is given.
type Change<T> = (T, Vec<Record>);

impl Shared {
    /// The only way to the chain: mines what is due, lets `command` look and change, and writes
    /// both to the journal.
    fn with_chain<T>(
        &self,
        command: impl FnOnce(&mut Chain) -> Change<T>,
    ) -> Result<T, JournalError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.broken {
            return Err(self.journal.closed());
        }
        let mut records = state.chain.advance(self.clock.now_ms());
        let (answer, more) = command(&mut state.chain);
        records.extend(more);
        if let Err(error) = self.journal.append_all(&records) {
            state.broken = true;
            return Err(error);
        }
        Ok(answer)
    }
}

impl EvmNode {
    /// Reads the journal and begins to serve. A chain that exists keeps its block interval.
    ///
    /// # Errors
    /// The journal cannot be read or is of another chain, or the listener is of no use.
    pub fn start(
        journal: &Path,
        listener: TcpListener,
        config: ChainConfig,
        clock: Clock,
    ) -> Result<Self, SandboxError> {
        let now_ms = clock.now_ms();
        let (mut chain, genesis) = Chain::genesis(config, now_ms);
        let mut is_new = true;
        let journal = Journal::open(journal, |record: Record| {
            is_new = false;
            chain.apply(&record)
        })?;
        if is_new {
            journal.append(&genesis)?;
        }
        chain.resume(now_ms);
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            state: Mutex::new(State { chain, broken: false }),
            journal,
            faults: Switch::default(),
            clock,
            stop: stop.clone(),
        });
        let server = Server::start("node", listener, http::router(Arc::clone(&shared)), stop)
            .map_err(|source| SandboxError::Serve { stand_in: "node", source })?;
        Ok(Self { shared, server })
    }

    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Gives an account of the chain's own coin, as if it had always had it.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn fund(&self, account: Address, wei: U256) -> Result<(), JournalError> {
        self.shared.with_chain(|chain| ((), vec![endow(chain, account, None, wei)]))
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
        self.shared.with_chain(|chain| ((), vec![endow(chain, account, Some(contract), units)]))
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
        self.shared.with_chain(|chain| {
            if chain.ledger.is_endowed(account) {
                return ((), Vec::new());
            }
            let mut records = vec![endow(chain, account, None, wei)];
            for (contract, units) in tokens {
                records.push(endow(chain, account, Some(*contract), *units));
            }
            ((), records)
        })
    }

    /// What an account has of the chain's own coin now, in wei.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn balance(&self, account: Address) -> Result<U256, JournalError> {
        self.shared.with_chain(|chain| (chain.ledger.balance(account), Vec::new()))
    }

    /// Every transfer on the canonical chain, oldest first.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn transfers(&self) -> Result<Vec<Transfer>, JournalError> {
        self.shared.with_chain(|chain| {
            (view::transfers(chain, 0, chain.head()).collect::<Vec<_>>(), Vec::new())
        })
    }

    /// The newest block.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn height(&self) -> Result<u64, JournalError> {
        self.shared.with_chain(|chain| (chain.height(), Vec::new()))
    }

    /// Lets answers fail, instead of the fault that was set before. `count`: how many; none means
    /// until it is cleared.
    pub fn set_fault(&self, fault: NodeFault, count: Option<u32>) {
        self.shared.faults.set(fault, count);
    }

    /// Changes the chain's course.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn disturb(&self, fault: ChainFault) -> Result<(), JournalError> {
        self.shared.with_chain(|chain| ((), fault.carry_out(chain)))
    }

    /// Ends every fault that lasts.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn clear_faults(&self) -> Result<(), JournalError> {
        http::clear(&self.shared)
    }

    /// Finishes the requests in hand and stops.
    pub async fn shutdown(mut self) {
        self.server.stop().await;
    }
}

fn endow(chain: &mut Chain, account: Address, contract: Option<Address>, amount: U256) -> Record {
    match contract {
        None => chain.ledger.endow(account, amount),
        Some(contract) => chain.ledger.endow_token(contract, account, amount),
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
        self.shared.journal.close();
    }
}
