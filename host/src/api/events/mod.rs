//! Outbox events: looked at, and replayed.

mod get;
mod list;
mod replay;

pub(super) use get::get_event;
pub(super) use list::list_events;
pub(super) use replay::replay_event;
