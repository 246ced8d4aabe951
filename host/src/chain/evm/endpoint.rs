//! One node: its health, its chain id, and what is counted about it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::json;
use url::Url;

use super::health::{Change, Fault, Health, Permit, Standing};
use super::node_counts::NodeCounts;
use super::rpc::{Answer, Call, RpcError, Wire, quantity};

/// How long a chain id is believed. Behind one name a balancer can put another node without an
/// error on the way.
const CHAIN_CHECKED_FOR: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Endpoint {
    wire: Wire,
    chain_id: u64,
    health: Mutex<Health>,
    /// None since the last failure on the way: after it there may be another node.
    chain_checked_at: Mutex<Option<Instant>>,
    /// The newest block that the node told of.
    head: AtomicU64,
    counts: NodeCounts,
}

impl Endpoint {
    pub(super) fn new(url: Url, client: Client, chain_id: u64) -> Self {
        Self {
            wire: Wire::new(url, client),
            chain_id,
            health: Mutex::new(Health::new()),
            chain_checked_at: Mutex::new(None),
            head: AtomicU64::new(0),
            counts: NodeCounts::default(),
        }
    }

    /// The node's name where people read it: without credentials.
    pub(super) fn label(&self) -> &str {
        self.wire.label()
    }

    pub(super) fn number(&mut self, number: usize) {
        self.wire.number(number);
    }

    pub(super) fn counts(&self) -> &NodeCounts {
        &self.counts
    }

    pub(super) fn standing(&self) -> Standing {
        self.health().standing(Instant::now())
    }

    pub(super) fn head(&self) -> u64 {
        self.head.load(Ordering::Relaxed)
    }

    pub(super) fn saw_head(&self, head: u64) {
        self.head.store(head, Ordering::Relaxed);
    }

    pub(super) fn unreadable(&self, what: &str) -> RpcError {
        self.wire.unreadable(what)
    }

    pub(super) fn refused(&self, refusal: super::rpc::NodeRefusal) -> RpcError {
        self.wire.refused(refusal)
    }

    /// One answer a call, in the order of the calls. At most [`super::rpc::BATCH_MAX`] calls.
    ///
    /// # Errors
    /// Never [`RpcError::Refused`]. A node that is out of use, or that ordered a wait, is not
    /// asked.
    pub(super) async fn batch(&self, calls: &[Call]) -> Result<Vec<Answer>, RpcError> {
        // Given back when this call ends or is cut off, whatever came of it.
        let _probe = match self.health().permit(Instant::now()) {
            Permit::Go => None,
            Permit::Probe => Some(Probe(self)),
            Permit::Limited(wait) => return Err(self.wire.rate_limited(wait)),
            Permit::Away(Fault::WrongChain { found }) => return Err(self.wrong_chain(found)),
            Permit::Away(Fault::Transport { cause }) => {
                return Err(self.wire.away(&format!("out of use for a moment, after: {cause}")));
            }
        };
        let answered = self.asked(calls).await;
        self.judge(&answered);
        answered
    }

    async fn asked(&self, calls: &[Call]) -> Result<Vec<Answer>, RpcError> {
        self.check_chain().await?;
        self.exchange(calls).await
    }

    async fn exchange(&self, calls: &[Call]) -> Result<Vec<Answer>, RpcError> {
        let started = Instant::now();
        let answered = self.wire.exchange(calls).await;
        self.counts.asked(calls.len(), started.elapsed(), &answered);
        answered
    }

    async fn check_chain(&self) -> Result<(), RpcError> {
        let checked_at = *locked(&self.chain_checked_at);
        if checked_at.is_some_and(|at| at.elapsed() < CHAIN_CHECKED_FOR) {
            return Ok(());
        }
        let call = Call { method: "eth_chainId", params: json!([]) };
        let found = match self.exchange(&[call]).await?.pop() {
            Some(Ok(value)) => quantity(&value),
            Some(Err(_)) | None => None,
        };
        let found = found.ok_or_else(|| self.unreadable("eth_chainId"))?;
        if found != self.chain_id {
            return Err(self.wrong_chain(found));
        }
        *locked(&self.chain_checked_at) = Some(Instant::now());
        Ok(())
    }

    fn wrong_chain(&self, found: u64) -> RpcError {
        let node = self.label().to_owned();
        RpcError::WrongChain { node, expected: self.chain_id, found }
    }

    /// What the answer says about the node. What it refused says nothing.
    fn judge(&self, answered: &Result<Vec<Answer>, RpcError>) {
        let now = Instant::now();
        let change = match answered {
            Ok(_) | Err(RpcError::Refused { .. } | RpcError::NoQuorum { .. }) => {
                self.health().answered()
            }
            Err(RpcError::RateLimited { wait, .. }) => self.health().limited(*wait, now),
            Err(RpcError::WrongChain { found, .. }) => {
                *locked(&self.chain_checked_at) = None;
                self.health().is_on_chain(*found, now)
            }
            Err(RpcError::Transport { cause, .. }) => {
                *locked(&self.chain_checked_at) = None;
                self.health().failed(cause.clone(), now, fastrand::f64())
            }
        };
        let node = self.label();
        match (change, answered) {
            (Change::None, _) => {}
            (Change::IsOnWrongChain, Err(error)) => {
                tracing::error!(node, %error, "a node is on another chain and is not used");
            }
            (Change::WentAway, Err(error)) => tracing::warn!(node, %error, "a node is away"),
            (Change::CameBack | Change::WentAway | Change::IsOnWrongChain, _) => {
                tracing::info!(node, "a node answers again");
            }
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        locked(&self.health)
    }

    #[cfg(test)]
    pub(super) fn forget_chain_check(&self) {
        let long_ago = Instant::now().checked_sub(CHAIN_CHECKED_FOR);
        *locked(&self.chain_checked_at) = long_ago;
    }
}

/// A call that finds out whether a node is back. Dropped with its call cut off, it lets the next
/// one find out.
struct Probe<'a>(&'a Endpoint);

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.0.health().probe_abandoned(Instant::now());
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
