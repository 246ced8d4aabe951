//! Stand-ins for targets: a partner, an event stream.
//!
//! They run inside this process, on loopback, and keep what they know in journals, written before
//! they answer. Each can be told to misbehave.

mod broker;
mod clock;
mod fault;
mod journal;
mod partner;
mod server;
#[cfg(test)]
mod testing;

use std::io;

pub use broker::{EventStream, EventStreamFault};
pub use clock::Clock;
pub use journal::{Journal, JournalError};
pub use partner::{Partner, PartnerFault, PartnerFaultMode, PartnerRecord, PartnerStatus};

/// Why the stand-ins do not run.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("the stand-ins' memory: {0}")]
    Journal(#[from] JournalError),
    #[error("the stand-in of the {stand_in} cannot serve: {source}")]
    Serve { stand_in: &'static str, source: io::Error },
}
