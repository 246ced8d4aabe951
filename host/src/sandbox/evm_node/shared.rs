//! What all doors of a network share: its state behind one lock, and the journal that is written
//! before anything is answered.

use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, PoisonError};

use alloy_primitives::B256;
use tokio_util::sync::CancellationToken;

use super::fault::{self, NodeFault};
use super::fault_request::{Fault, FaultRequest};
use super::network::Network;
use super::record::Record;
use super::witness::{HookSlot, Sighting};
use crate::sandbox::Clock;
use crate::sandbox::fault::Switch;
use crate::sandbox::journal::{Journal, JournalError};

/// A stand-in that runs for weeks shall not grow with every byte string that is sent again.
const SIGHTINGS_MAX: usize = 1_000_000;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// None where nothing outlives the process.
    pub(super) journal: Option<Journal>,
    /// Of the answers, by node.
    pub(super) faults: Vec<Switch<NodeFault>>,
    pub(super) clock: Clock,
    pub(super) stop: CancellationToken,
    pub(super) hook: Mutex<HookSlot>,
    /// How many answers were garbage.
    pub(super) garbage: AtomicUsize,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) network: Network,
    /// The journal could not be written, so the network in memory is ahead of it. Nothing of that
    /// may be seen; only a restart helps.
    broken: bool,
    sightings: Vec<Sighting>,
}

impl State {
    pub(super) fn new(network: Network) -> Self {
        Self { network, broken: false, sightings: Vec::new() }
    }
}

/// A change of the network: the answer, and what the journal must have before it is given.
pub(super) type Change<T> = (T, Vec<Record>);

impl Shared {
    /// The only way to the network: mines what is due, lets `command` look and change, and writes
    /// both to the journal.
    pub(super) fn change<T>(
        &self,
        command: impl FnOnce(&mut Network) -> Change<T>,
    ) -> Result<T, JournalError> {
        self.change_state(|state| command(&mut state.network))
    }

    pub(super) fn read<T>(&self, look: impl FnOnce(&Network) -> T) -> Result<T, JournalError> {
        self.change(|network| (look(network), Vec::new()))
    }

    fn change_state<T>(
        &self,
        command: impl FnOnce(&mut State) -> Change<T>,
    ) -> Result<T, JournalError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(journal) = self.journal.as_ref().filter(|_| state.broken) {
            return Err(journal.closed());
        }
        let mut records = state.network.advance(self.clock.now_ms());
        let (answer, more) = command(&mut state);
        records.extend(more);
        if let Some(Err(error)) = self.journal.as_ref().map(|it| it.append_all(&records)) {
            state.broken = true;
            return Err(error);
        }
        Ok(answer)
    }

    /// A node is sent bytes: the hash, or code and text of its refusal. `forgets`: it takes them
    /// and keeps nothing.
    pub(super) fn send(
        &self,
        node: usize,
        raw: &[u8],
        forgets: bool,
    ) -> Result<Result<B256, (i64, String)>, JournalError> {
        self.change_state(|state| {
            let network = &mut state.network;
            let (taken, records) =
                if forgets { network.hear(node, raw) } else { network.send(node, raw) };
            let profile = network.nodes[node].profile;
            let answer = taken.map_err(|refusal| profile.answer(&refusal));
            if state.sightings.len() < SIGHTINGS_MAX {
                state.sightings.push(Sighting {
                    node,
                    at_ms: self.clock.now_ms(),
                    raw: raw.to_vec(),
                    answer: answer.clone().map_err(|(_, text)| text),
                });
            }
            (answer, records)
        })
    }

    pub(super) fn sightings(&self) -> Vec<Sighting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).sightings.clone()
    }

    pub(super) fn set(&self, node: usize, request: FaultRequest) -> Result<(), JournalError> {
        match request.fault {
            Fault::Node(fault) => {
                self.faults[node].set(fault, request.count);
                Ok(())
            }
            Fault::Trouble(trouble) => {
                self.change(|network| ((), trouble.carry_out(network, node)))
            }
            Fault::Chain(fault) => self.change(|network| ((), fault.carry_out(network))),
        }
    }

    pub(super) fn heal(&self) -> Result<(), JournalError> {
        for switch in &self.faults {
            switch.clear();
        }
        self.change(|network| ((), fault::heal(network)))
    }
}
