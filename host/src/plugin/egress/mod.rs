//! Connections to the outside: resolved, checked and dialled by the host, counted and recorded.
//!
//! Each release has a pool of its own for each policy of its grants: a pooled connection skips the
//! checks that happen at connect, so connections are never shared between plugins, nor between two
//! policies of one plugin.

mod audit;
mod counts;
mod dial;
mod outbound;
mod resolve;
mod stream;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use wasmtime_wasi_http::WasiBody;

use super::grants::{ConnectionPolicy, Origin};
use super::manifest::Manifest;

pub use audit::{AuditFile, AuditLog};
pub use outbound::Outbound;
pub use resolve::{Resolver, SystemResolver};

pub(super) use audit::AuditRecord;
pub(super) use counts::{Answered, OriginCounts};
pub(super) use dial::DialError;

/// Idle connections kept for one host.
const IDLE_PER_HOST_MAX: usize = 64;
const IDLE_FOR: Duration = Duration::from_secs(30);
/// Connections that one plugin may have at once: for each of its calls a few.
const CONNECTIONS_PER_CALL: usize = 4;
const CONNECTIONS_MAX: usize = 2_000;
/// Names of one plugin that are looked up at once.
const LOOKUPS_MAX: usize = 8;
/// Of an answer's head. A buffer of so many bytes is all that a server can fill before it counts.
pub(super) const ANSWER_HEAD_BYTES_MAX: usize = 64 << 10;
pub(super) const ANSWER_HEADERS_MAX: usize = 100;

pub(super) type EgressClient = Client<dial::Dialler, WasiBody>;

/// The connections of one release.
pub(super) struct Egress {
    /// One a policy.
    pools: Vec<EgressClient>,
    /// For each of the manifest's `grants.http`: its pool, and what is counted of it.
    grants: Vec<(usize, Arc<OriginCounts>)>,
    denied: Arc<OriginCounts>,
}

impl Egress {
    /// Reads the certificates that the manifest names. Blocks.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn new(manifest: &Manifest, outbound: &Outbound) -> Result<Self, String> {
        let calls = manifest.limits.concurrency;
        let places_max = (calls * CONNECTIONS_PER_CALL).min(CONNECTIONS_MAX);
        let places = Arc::new(Semaphore::new(places_max));
        let lookups = Arc::new(Semaphore::new(LOOKUPS_MAX));
        let mut policies: Vec<(ConnectionPolicy, Vec<Origin>)> = Vec::new();
        let mut grants = Vec::with_capacity(manifest.grants.http.len());
        for grant in &manifest.grants.http {
            let policy = grant.policy();
            let at = policies.iter().position(|(other, _)| *other == policy);
            let at = at.unwrap_or_else(|| {
                policies.push((policy, Vec::new()));
                policies.len() - 1
            });
            policies[at].1.push(grant.origin.clone());
            let counts = outbound.counts.of(&manifest.name, &grant.origin.to_string());
            grants.push((at, counts));
        }
        let mut pools = Vec::with_capacity(policies.len());
        for (policy, origins) in policies {
            let tls = tls::Tls::new(&policy, Arc::clone(&outbound.secrets));
            tls.check().map_err(|error| {
                let names: Vec<_> = origins.iter().map(ToString::to_string).collect();
                format!("grants.http: {}: {error}", names.join(", "))
            })?;
            pools.push(pool(dial::Dialler(Arc::new(dial::Shared {
                policy,
                origins,
                tls,
                resolver: Arc::clone(&outbound.resolver),
                places: Arc::clone(&places),
                places_max,
                lookups: Arc::clone(&lookups),
            }))));
        }
        let denied = outbound.counts.of(&manifest.name, "none");
        Ok(Self { pools, grants, denied })
    }

    /// The pool of the grant at this place of `grants.http`.
    pub(super) fn client(&self, grant: usize) -> Option<&EgressClient> {
        self.grants.get(grant).and_then(|(pool, _)| self.pools.get(*pool))
    }

    /// What is counted of it; of what no grant allows, if there is none.
    pub(super) fn counts(&self, grant: Option<usize>) -> &OriginCounts {
        let of_grant = grant.and_then(|at| self.grants.get(at));
        of_grant.map_or(&self.denied, |(_, counts)| counts)
    }
}

fn pool(dialler: dial::Dialler) -> EgressClient {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_FOR)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .http1_max_buf_size(ANSWER_HEAD_BYTES_MAX)
        .http1_max_headers(ANSWER_HEADERS_MAX)
        .http2_max_header_list_size(32 << 10)
        .build(dialler)
}
