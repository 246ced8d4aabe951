//! Where the calls to the host end: in WebAssembly in the component's imports, natively in the
//! fake host of the tests. Both have the same functions, so nothing above knows the difference.

#[cfg(target_arch = "wasm32")]
mod component;
#[cfg(target_arch = "wasm32")]
mod wasi_http;

#[cfg(target_arch = "wasm32")]
pub(crate) use self::{component::*, wasi_http::http};

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::backend::*;
