//! `/v1/routes`: which plugin handles an event type, what waits for it, and whether it is paused.

mod control;
mod list;

pub(super) use control::{pause_route, read_reason, resume_route};
pub(super) use list::list_routes;
