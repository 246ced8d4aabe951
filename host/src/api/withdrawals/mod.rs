//! Withdrawals: handed in, and looked at.

mod accept;
mod cancel;
mod fields;
mod get;
mod list;
mod timeline;

pub(super) use accept::accept_withdrawal;
pub(super) use cancel::cancel_withdrawal;
pub(super) use get::get_withdrawal;
pub(super) use list::list_withdrawals;
pub(super) use timeline::get_timeline;
