//! Tidegate: a transactional outbox whose targets are WebAssembly plugins.
//!
//! Imports point one way: `cli → api, jobs, sandbox → plugin, chain, store, broker → domain`.
//! `tests/tidy.rs` holds the sentences of this page.
//!
//! - [`domain`]: withdrawals, events, retry policy. No I/O, no clock, no async.
//! - [`store`]: the `Store` traits, SQLite, Postgres. Only here is SQL.
//! - [`plugin`]: manifest, engine, release, registry, host functions. Only here and in `sandbox`
//!   is wasmtime named.
//! - [`chain`]: accounts, nonces, signing rules, keys, evidence. Of the store it knows `ChainStore`.
//! - [`broker`]: where `messaging` ends.
//! - [`jobs`]: dispatcher, retry, failure, confirmation. No job calls another.
//! - [`api`]: the HTTP API. Only here is axum named, beside `sandbox`.
//! - [`sandbox`]: stand-ins for targets.
//! - [`cli`]: one file a command.

pub mod api;
pub mod broker;
pub mod chain;
pub mod cli;
pub mod domain;
pub mod jobs;
pub mod plugin;
pub mod sandbox;
pub mod store;
