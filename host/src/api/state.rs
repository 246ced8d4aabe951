//! What the API stands on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::chain::Chains;
use crate::domain::Flow;
use crate::plugin::Registry;
use crate::store::{
    AcceptStore, ApprovalStore, Backlog, BacklogStore, BlameStore, BreakerStore, ControlStore,
    LimitStore, OperateStore, PolicyStore, ReleaseStore, RepairStore,
};

use super::auth::Tokens;
use super::idempotency::InFlight;
use super::judge::WithdrawalJudge;
use super::ordered::OrderedRoutes;
use super::releases::ReleaseRule;

/// What the host counts, in the text format of Prometheus.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// Everything that the API needs from outside.
pub struct Api {
    pub accept: Arc<dyn AcceptStore>,
    pub operate: Arc<dyn OperateStore>,
    pub control: Arc<dyn ControlStore>,
    pub breakers: Arc<dyn BreakerStore>,
    pub backlog: Arc<dyn BacklogStore>,
    /// The backlog as a job of this process saw it last, for what must cost no query.
    pub backlog_seen: watch::Receiver<Backlog>,
    pub registry: Arc<Registry>,
    pub repair: Arc<dyn RepairStore>,
    pub rates: Arc<dyn LimitStore>,
    pub releases: Arc<dyn ReleaseStore>,
    pub releases_rule: ReleaseRule,
    pub blame: Arc<dyn BlameStore>,
    pub approvals: Arc<dyn ApprovalStore>,
    pub policies: Arc<dyn PolicyStore>,
    pub ordered: Arc<dyn OrderedRoutes>,
    pub chains: Arc<Chains>,
    pub judge: Arc<dyn WithdrawalJudge>,
    pub metrics: MetricsText,
    pub tokens: Tokens,
    pub flow: Flow,
    pub limits: Limits,
}

/// What one request, and all together, may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A larger body is answered with 413.
    pub body_bytes_max: usize,
    /// A body that has not arrived by then is answered with 408.
    pub body_timeout: Duration,
    /// A request that is not answered by then is answered with 503. What it did stands: the same
    /// request with the same key finds out.
    pub request_timeout: Duration,
    /// Requests in hand; one more is answered with 503 at once.
    pub requests_max: usize,
    /// How long `/readyz` waits for the store.
    pub ready_timeout: Duration,
    /// While an event of withdrawals has been undelivered for longer, withdrawals are answered with
    /// 429; none accepts them whatever waits.
    pub backlog_age_max: Option<Duration>,
    /// What is due for longer without being claimed is shown as taken by no host.
    pub untaken_after: Duration,
    /// Whether `/metrics` is shown to everybody.
    pub metrics_open: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 64 * 1024,
            body_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            requests_max: 512,
            ready_timeout: Duration::from_secs(2),
            backlog_age_max: None,
            untaken_after: Duration::from_secs(10),
            metrics_open: false,
        }
    }
}

/// The state of the router: what came from outside, and what only lives in this process.
pub(super) type Shared = Arc<Inner>;

pub(super) struct Inner {
    pub(super) api: Api,
    pub(super) in_flight: InFlight,
    pub(super) permits: Semaphore,
}

impl Inner {
    pub(super) fn new(api: Api) -> Self {
        let permits = Semaphore::new(api.limits.requests_max);
        Self { api, in_flight: InFlight::default(), permits }
    }
}
