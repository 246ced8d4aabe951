//! Write a Tidegate handler in Rust: an event comes in,
//! calls go out to one target, a verdict goes back.
//!
//! ```
//! use tidegate_plugin::{Event, Failure, Handler, Receipt, done, http, retry};
//!
//! struct Welcome;
//!
//! impl Handler for Welcome {
//!     fn handle(event: &Event) -> Result<Receipt, Failure> {
//!         let request = http::post("https://mail.example/welcome").json_text(&event.raw_payload);
//!         let response = request.send()?;
//!         // An answer is an answer, whatever its status: the handler judges it.
//!         if response.is_success() { Ok(done()) } else { Err(retry(response.excerpt(200))) }
//!     }
//! }
//!
//! tidegate_plugin::export_handler!(Welcome);
//! ```
//!
//! Build it for `wasm32-wasip2` as a `cdylib`, put it beside its manifest, and start the host:
//!
//! ```toml
//! name = "welcome"
//! handles = ["WELCOME_REQUESTED"]
//!
//! [grants]
//! http = ["https://mail.example"]
//! ```
//!
//! # What a verdict means
//! [`done`] settles the event. [`retry`] says that it did not happen, or that doing it again is
//! harmless. [`unknown`] says that it may have happened: the host then asks
//! [`Reconciler::reconcile`], where there is one, before it calls [`Handler::handle`] again.
//! [`defer`] is "not ready yet" and costs no attempt. [`reject`] is for ever. Every error of this
//! crate becomes the right one of them through `?`.
//!
//! # Tests
//! Handlers are tested natively, with `cargo test`: away from WebAssembly, everything that the host
//! offers comes from a [`testing::FakeHost`].
#![deny(missing_docs)]

mod backend;
mod bindings;
pub mod checkpoint;
mod clock;
mod event;
mod handler;
pub mod http;
mod json;
pub mod log;
pub mod messaging;
pub mod secrets;
pub mod settings;
pub mod signer;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod verdict;
mod withdrawal;

/// The plugin in the README, compiled as it stands there.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}

pub use clock::now;
pub use event::{Event, PayloadError};
#[doc(hidden)]
pub use handler::__private;
pub use handler::{Chain, Handler, Proposal, Reconciler};
pub use json::JsonError;
pub use verdict::{
    Failure, Finding, FollowUp, Receipt, Transition, defer, done, reject, retry, retry_after,
    unknown,
};
pub use withdrawal::Withdrawal;
