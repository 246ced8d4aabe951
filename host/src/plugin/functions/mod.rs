//! What the host offers to a component: one file a capability, each the host's side of one
//! interface of `wit/`. Each checks its grant, bounds what comes from the guest, and answers a
//! denial as a typed error. Of WASI, what bounds it is the table in `bounds`.
//!
//! What holds for each of them: it is cancel-safe (a call is dropped at its time limit, and what
//! was asked of the store then happened or did not), it copies no more from a guest than
//! `Limits::hand_over_bytes`, and a guest cannot come back in while it is out here, for the
//! component model forbids to enter an instance that waits for an import.

pub(super) mod bounds;
pub(super) mod checkpoint;
pub(super) mod http;
pub(super) mod log;
pub(super) mod messaging;
pub(super) mod secrets;
pub(super) mod settings;
pub(super) mod signer;
pub(super) mod stdio;
