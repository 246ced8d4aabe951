//! Outbox events: taken, looked at, replayed, skipped, cancelled; and which release failed them.

mod accept;
mod cancel;
mod failures;
mod fields;
mod get;
mod list;
mod reason;
mod replay;
mod sent;
mod skip;
mod waits;

pub(super) use accept::accept_events;
pub(super) use cancel::cancel_event;
pub(super) use failures::{list_failures, replay_events};
pub(super) use get::get_event;
pub(super) use list::list_events;
pub(super) use replay::replay_event;
pub(super) use skip::skip_event;
