//! The HTTP API: withdrawals and events are taken and looked at, events replayed and given up,
//! routes looked at and paused.
//!
//! A request takes five steps: extract, validate into the domain, one use case of the store, (the
//! store itself wakes the dispatcher), a view. `router` is the table of what there is; the views
//! are shapes of their own and the domain knows nothing of them. Every refusal is a [`Problem`].

mod accounts;
mod answer;
mod approvals;
mod auth;
mod back_pressure;
mod body;
mod breakers;
mod chain_judge;
mod events;
mod freezes;
mod guard;
mod health;
mod idempotency;
mod json;
mod judge;
mod metrics;
mod openapi;
mod ordered;
mod page;
mod path;
mod plugins;
mod problem;
mod query;
mod releases;
mod router;
mod routes;
mod serve;
mod state;
mod traceparent;
mod view;
mod withdrawals;

#[cfg(test)]
mod tests;

pub use auth::{Role, Token, Tokens, TokensError, token_digest};
pub use chain_judge::ChainJudge;
#[cfg(fuzzing)]
pub(crate) use idempotency::parsed_key;
pub use judge::{JudgeError, WithdrawalJudge};
pub use ordered::OrderedRoutes;
pub use problem::{FieldError, Problem, ProblemKind};
pub use releases::ReleaseRule;
pub use router::router;
pub use serve::serve;
pub use state::{Api, Limits, MetricsText};
