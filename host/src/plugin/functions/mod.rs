//! What the host offers to a component: one file a capability, each the host's side of one
//! interface of `wit/`. Each checks its grant, bounds what comes from the guest, and answers a
//! denial as a typed error.

pub(super) mod checkpoint;
pub(super) mod http;
pub(super) mod log;
pub(super) mod messaging;
pub(super) mod secrets;
pub(super) mod settings;
pub(super) mod signer;
pub(super) mod stdio;
