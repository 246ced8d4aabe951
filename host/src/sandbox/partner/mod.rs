//! A partner's REST service: it keeps one record a withdrawal.
//!
//! `PUT /withdrawals/{id}` creates a record or moves it on, `GET /withdrawals/{id}` and
//! `GET /withdrawals` show it; `/_faults` makes the service misbehave. The record is in the journal
//! before the answer goes out.

mod fault;
mod http;
mod record;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::fault::Switch;
use super::journal::Journal;
use super::server::Server;
use super::{Clock, SandboxError};

pub use fault::{PartnerFault, PartnerFaultMode};
use record::{Effect, Records};
pub use record::{PartnerRecord, PartnerStatus};

/// A running partner. Dropping it stops it.
#[derive(Debug)]
pub struct Partner {
    shared: Arc<Shared>,
    server: Server,
}

#[derive(Debug)]
struct Shared {
    records: Mutex<Records>,
    journal: Journal,
    faults: Switch<PartnerFault>,
    /// What `Authorization: Bearer …` must carry; none lets everybody in.
    api_key: Option<String>,
    clock: Clock,
    stop: CancellationToken,
}

impl Shared {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Partner {
    /// Reads the journal and begins to serve.
    ///
    /// # Errors
    /// The journal cannot be read, or the listener is of no use.
    pub fn start(
        journal: &Path,
        listener: TcpListener,
        api_key: Option<String>,
        clock: Clock,
    ) -> Result<Self, SandboxError> {
        let mut records = Records::default();
        let journal = Journal::open(journal, |effect: Effect| {
            records.apply(effect);
            Ok(())
        })?;
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            records: Mutex::new(records),
            journal,
            faults: Switch::default(),
            api_key,
            clock,
            stop: stop.clone(),
        });
        let server = Server::start("partner", listener, http::router(Arc::clone(&shared)), stop)
            .map_err(|source| SandboxError::Serve { stand_in: "partner", source })?;
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

    /// All records, by id.
    #[must_use]
    pub fn records(&self) -> Vec<PartnerRecord> {
        self.shared.records().list("", usize::MAX)
    }

    /// Replaces the fault that was set before. `count`: for how many requests; none means until it
    /// is cleared.
    pub fn set_fault(&self, fault: PartnerFault, count: Option<u32>) {
        self.shared.faults.set(fault, count);
    }

    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Finishes the requests in hand and stops.
    pub async fn shutdown(mut self) {
        self.server.stop().await;
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        // A connection may outlive this for a moment; it must not write behind the back of the
        // next one who opens the file.
        self.shared.journal.close();
    }
}
