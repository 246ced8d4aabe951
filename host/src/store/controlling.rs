//! What operators tell all hosts about a route.

use async_trait::async_trait;

use super::StoreError;
use crate::domain::{EventType, Timestamp};

/// What operators tell all hosts about a route. It is kept, so it survives restarts.
#[async_trait]
pub trait ControlStore: Send + Sync {
    /// From here on no claim of any host takes events of this type. What was claimed before runs
    /// to its end. A repeat changes nothing, not even the reason.
    async fn pause_route(
        &self,
        event_type: &EventType,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError>;

    /// Lets claims take events of this type again, and wakes the hosts. A repeat changes nothing.
    async fn resume_route(
        &self,
        event_type: &EventType,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError>;

    /// Every route that was ever paused, by event type.
    async fn route_controls(&self) -> Result<Vec<RouteControl>, StoreError>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlNote<'a> {
    pub reason: &'a str,
    pub by: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlChange {
    Changed,
    /// It was so already.
    Already,
}

/// What was said about a route last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteControl {
    pub event_type: EventType,
    pub paused: bool,
    pub reason: String,
    pub changed_by: String,
    pub changed_at: Timestamp,
}
