//! Events of a type that some plugin handles, and that none of them selects.
//!
//! They are put aside as those that wait for a rate are, in the same table, without a plugin's name:
//! PENDING, their place kept, and their `available_at` moved into the future, so that no claim walks
//! over them again. They go when the routes of a host change; and by themselves, the seldomer the
//! older they are, for another host may have the plugin.

use std::time::Duration;

use async_trait::async_trait;

use super::{LeaseRef, StoreError};
use crate::domain::EventType;

/// In place of a plugin's name in `rate_waiting`.
pub(super) const NOBODY: &str = "";

/// How long an event waits before it is looked at again: as long as it is old, within these bounds.
pub(super) const WAIT_MIN: Duration = Duration::from_secs(60);
pub(super) const WAIT_MAX: Duration = Duration::from_secs(15 * 60);

/// What the dispatcher needs for events that no plugin takes.
#[async_trait]
pub trait UnroutedStore: Send + Sync {
    /// PROCESSING → PENDING for events whose handler was not called under this lease, as `release`
    /// does it, but not available at once. Nothing is counted, and nothing stands in their history.
    /// Leases that were lost are passed over.
    async fn put_aside(&self, leases: &[LeaseRef]) -> Result<(), StoreError>;

    /// Lets up to `limit` events of a type go that were put aside so: the routes are others now.
    /// Fewer than `limit` means that none is left.
    async fn let_unrouted_go(&self, event_type: &EventType, limit: u32) -> Result<u64, StoreError>;
}
