//! Calls to the target, over HTTP. Needs `grants.http` for each origin.
//!
//! ```
//! use std::time::Duration;
//! use tidegate_plugin::{Failure, http};
//!
//! fn reference_of(name: &str) -> Result<String, Failure> {
//!     #[derive(serde::Deserialize)]
//!     struct Answer {
//!         reference: String,
//!     }
//!
//!     let response = http::post("https://api.partner.example/orders")
//!         .header("Accept", "application/json")
//!         .timeout(Duration::from_secs(5))
//!         .json(&serde_json::json!({ "name": name }))
//!         .send()?;
//!     Ok(response.json::<Answer>()?.reference)
//! }
//! # use tidegate_plugin::testing::{FakeHost, Reply};
//! # FakeHost::new().reply(Reply::json(200, serde_json::json!({ "reference": "P-17" })));
//! # assert_eq!(reference_of("Ada").as_deref(), Ok("P-17"));
//! ```

mod error;
mod request;
mod response;
mod url;

pub use error::{BodyError, HttpError};
pub use request::{Request, delete, get, patch, post, put};
pub use response::Response;
pub use url::{encode, origin};

pub(crate) use error::{Phase, error_of};
pub(crate) use request::Prepared;
