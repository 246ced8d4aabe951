//! The duties that run beside the API. One file each; no job calls another.
//!
//! Each has a `run_once`, which does the duty and counts, and a `run`, which only loops: at once
//! again if there may be more, else at the next wake-up, poll or stop. A failed pass is logged and
//! tried again; it never ends a job.

mod backlog;
mod breaker_counts;
mod capabilities;
mod confirmation;
mod cycle;
mod dispatcher;
mod external_policy;
mod failure;
mod metrics;
mod policing;
mod releases;
mod retention;
mod retry;
#[cfg(test)]
mod testing;

pub use backlog::BacklogJob;
pub use capabilities::{BrokerMessaging, ChainSigner, StoreApprovals, StoreCheckpoints};
pub use confirmation::ConfirmationJob;
pub use dispatcher::{DispatchConfig, DispatcherJob};
pub use external_policy::ExternalPolicy;
pub use failure::FailureJob;
pub use metrics::Metrics;
pub use policing::Policing;
pub use releases::{Memory, ReleasesJob, ReleasesPass};
pub use retention::{Retention, RetentionJob};
pub use retry::RetryJob;
