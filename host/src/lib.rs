//! Tidegate: a transactional outbox whose targets are WebAssembly plugins. This page is the map.
//!
//! # A bird's eye
//!
//! `api` takes a withdrawal and has `store` write it, its first outbox events and its idempotency
//! key in one transaction. A wake-up reaches the dispatcher of `jobs`, which claims due events
//! under leases, one lane for each event type, and asks `plugin` which release handles each. That
//! makes a fresh sandboxed instance, calls `handle`, and turns whatever happens (an answer, a trap,
//! a time-out) into one `Outcome`. `domain` decides what becomes of the event, and `store` settles
//! it in one transaction: the status, the withdrawal's step, the events that follow, the history.
//! What a plugin reaches outside goes through host functions: HTTP by the egress policy of
//! `plugin`, messages by `broker`, signatures by `chain`, which allots the nonce, checks every
//! field and has the bytes stored before the guest sees them. The confirmation job lets `chain`
//! read the nodes until a payment is final. `cli` puts all of it together, in `serve` and `dev`.
//!
//! # The folders
//!
//! Each with a sentence that can be checked.
//!
//! - [`domain`]: withdrawals, events, amounts, the retry policy, and the functions that decide.
//!   It does no I/O, reads no clock, and imports nothing of ours.
//! - [`store`]: small traits, one for each of those who ask, with SQLite and Postgres behind them.
//!   Only here is SQL, and only here is sqlx named.
//! - [`plugin`]: manifest, engine, admission, release, registry, the watcher of the folder, the
//!   sandboxed call, and the host functions, one file each. Only here is wasmtime named. It knows no store: what host functions rest on
//!   stands behind the traits of `services`.
//! - [`chain`]: accounts, nonces, signing rules, keys, evidence. Only here is anything signed. Of
//!   the store it knows `ChainStore`.
//! - [`broker`]: where `messaging` ends. It imports nothing of ours.
//! - [`jobs`]: dispatcher, retry, failure, retention, confirmation, backlog. No job calls another:
//!   they meet in the store. `metrics` counts what they do; `capabilities` gives plugins the store,
//!   the chains and the broker; `policing` stands around each signature.
//! - [`api`]: the HTTP API, one file a route. Only here and in `sandbox` is axum named.
//! - [`sandbox`]: stand-ins for partner, EVM node and broker, which can be told to misbehave. Of
//!   the product it knows `broker`, whose trait one of them implements.
//! - [`cli`]: one file a command, and the configuration. Nothing imports it.
//!
//! Imports point one way: `cli → api, jobs, sandbox → plugin, chain, store, broker → domain`; of
//! the second row, only `chain` knows another, `store`.
//!
//! # Where a question is answered
//!
//! - What becomes of an event after an attempt: [`domain::decide`].
//! - What a failed event means for its withdrawal: [`domain::consequence_of_failure`].
//! - Which steps a withdrawal may take: [`domain::Withdrawal::step`].
//! - Which events a step writes: [`domain::Flow`].
//! - What may be signed: the rules of `chain::evm`, and [`store::ChainStore::sign_payment`].
//! - Whether anything may be signed for a withdrawal: [`domain::decide_policy`].
//! - What must hold in every store: `store::checks`, which `tidegate verify` goes through.
//! - What the schema promises to others: the top of `migrations/`, and the README's "The outbox as
//!   a public contract".

pub mod api;
pub mod broker;
pub mod chain;
pub mod cli;
pub mod domain;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod jobs;
pub mod plugin;
pub mod sandbox;
pub mod store;
