//! What the black-box tests stand on: the built binary as a child process, clients for its API and
//! its targets, real servers, and the facts that must hold in the end.
//!
//! - [`process`]: a child that never outlives the test; [`host`]: `tidegate dev` and `serve` as one.
//! - [`installation`], [`manifest`], [`components`]: what `serve` is started with; [`mod@bench`]:
//!   the same with stand-ins as its targets.
//! - [`api`], [`order`], [`command_line`]: what a caller does.
//! - [`partner`], [`node`], [`broker`]: looking at the targets from outside; [`target`]: one that
//!   only counts.
//! - [`anvil`], [`nats`], [`postgres`]: real ones, on free ports; [`skip`] says when there are none.
//! - [`fleet`]: several hosts on one Postgres, each with a clock of its own and behind a [`proxy`] of
//!   its own; [`witness`]: what the database itself saw of leases; [`seed`]: what repeats a run.
//! - [`eventually`]: waits for facts, never for time; [`oracle`]: paid once, told once, in order.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

pub mod anvil;
pub mod api;
pub mod bench;
pub mod broker;
pub mod command_line;
pub mod components;
pub mod eventually;
pub mod fleet;
pub mod hardhat;
pub mod host;
pub mod installation;
pub mod machine;
pub mod manifest;
pub mod nats;
pub mod node;
pub mod oracle;
pub mod order;
pub mod partner;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod registry;
pub mod seed;
pub mod skip;
pub mod target;
pub mod witness;
