//! A host for tests: it answers what the test says, and remembers what the handler did.
//!
//! ```
//! use tidegate_plugin::{Event, Failure, Handler, Receipt, done, http, testing};
//! use tidegate_plugin::testing::{FakeHost, Reply};
//!
//! struct Welcome;
//!
//! impl Handler for Welcome {
//!     fn handle(event: &Event) -> Result<Receipt, Failure> {
//!         http::post("https://mail.example/welcome").json_text(&event.raw_payload).send()?;
//!         Ok(done())
//!     }
//! }
//!
//! let host = FakeHost::new();
//! host.reply(Reply::status(202)).reply(Reply::timed_out());
//! let event = testing::event("WELCOME_REQUESTED", serde_json::json!({ "name": "Ada" }));
//!
//! assert!(Welcome::handle(&event).is_ok());
//! assert_eq!(host.requests()[0].text(), r#"{"name":"Ada"}"#);
//! assert!(matches!(Welcome::handle(&event), Err(Failure::Unknown(_))));
//! ```

pub(crate) mod backend;
mod host;
mod reply;
mod signer;

pub use host::{FakeHost, event};
pub use reply::{Reply, SentRequest};
pub use signer::SignRequest;
