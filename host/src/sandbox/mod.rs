//! Stand-ins for targets: a partner, an EVM node, an event stream.
//!
//! They run inside this process, on loopback, and keep what they know in journals, written before
//! they answer. Each can be told to misbehave. `StandIns` is all three, as `dev` starts them.

mod broker;
mod clock;
mod evm_node;
mod fault;
mod journal;
mod partner;
mod server;
mod stand_ins;
#[cfg(test)]
mod testing;

pub use broker::{EventStream, EventStreamFault};
pub use clock::Clock;
pub use evm_node::{
    ChainConfig, ChainFault, ClientProfile, EvmNetwork, EvmNode, Fate, Inclusion, NodeAnswer,
    NodeFault, NodeTrouble, ReceiptLie, Sighting, TokenBehaviour, TokenConfig, Transfer,
};
pub use journal::{Journal, JournalError};
pub use partner::{Partner, PartnerFault, PartnerFaultMode, PartnerRecord, PartnerStatus};
pub use stand_ins::{
    ASSET_NATIVE, ASSET_TOKEN, NETWORK, StandIns, StandInsOptions, TOKEN_CONTRACT, TOKEN_DECIMALS,
};

/// Why the stand-ins do not run.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("the stand-ins' memory: {0}")]
    Journal(#[from] JournalError),
    #[error("the stand-in of the {stand_in} cannot serve: {source}")]
    Serve { stand_in: &'static str, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    DataDirectory { path: std::path::PathBuf, source: std::io::Error },
}
