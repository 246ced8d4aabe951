//! A running host: the parts in the order in which they start, and stop.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::config::{AuditConfig, DispatchConfig, PoliciesConfig, SecretConfig};
use super::error::CliError;
use super::host_plugins::{Follower, Opened, PluginsPlan, open_plugins};
use super::host_policing::policing;
use super::secret_source::ConfiguredSecrets;
use super::stop_signals::StopSignals;
use crate::api::{self, Api, ChainJudge, MetricsText, Tokens};
use crate::broker::Broker;
use crate::chain::{Chains, NetworkConfig};
use crate::domain::{Flow, HostId, event_types};
use crate::jobs::{
    self, BacklogJob, BrokerMessaging, ChainSigner, ConfirmationJob, DispatcherJob, FailureJob,
    Metrics, Policing, Retention, RetentionJob, RetryJob, StoreCheckpoints,
};
use crate::plugin::{
    AuditFile, AuditLog, Outbound, Registry, SandboxEngine, SecretSource, Services,
};
use crate::store::{self, Backlog, Pooler, Store, StoreOptions, StoreUrl};

/// How late a due retry may be. One statement over a partial index, so it may be asked often.
const RETRY_POLL: Duration = Duration::from_millis(250);
const FAILURE_POLL: Duration = Duration::from_secs(1);
/// How old the backlog may be that metrics and back-pressure look at.
const BACKLOG_POLL: Duration = Duration::from_secs(5);
/// Between two tries to open a store that is away; each says so in the log.
const STORE_RETRY: Duration = Duration::from_secs(2);
/// What is kept for days may be deleted a minute late.
const RETENTION_POLL: Duration = Duration::from_secs(60);

/// What a host is made of.
pub(super) struct HostPlan<'a> {
    pub(super) listen: SocketAddr,
    pub(super) store: StoreUrl,
    pub(super) connections_max: u32,
    pub(super) pooler: Pooler,
    /// How long to wait for a store that is away.
    pub(super) store_wait: Duration,
    /// Whether the schema is brought up to date at the start.
    pub(super) migrate: bool,
    pub(super) flow: Flow,
    pub(super) tokens: Tokens,
    pub(super) http: api::Limits,
    pub(super) plugins: PluginsPlan<'a>,
    pub(super) networks: Vec<NetworkConfig>,
    pub(super) policies: PoliciesConfig,
    /// How often each network's open payments are looked at.
    pub(super) confirmation_poll: Duration,
    pub(super) broker: Option<Arc<dyn Broker>>,
    pub(super) secrets: BTreeMap<String, SecretConfig>,
    pub(super) audit: AuditConfig,
    pub(super) dispatch: DispatchConfig,
    pub(super) retention: Retention,
}

/// A host that takes withdrawals and carries their events.
pub(super) struct RunningHost {
    pub(super) address: SocketAddr,
    store: Arc<dyn Store>,
    api: JoinSet<std::io::Result<()>>,
    jobs: JoinSet<()>,
    stop_api: CancellationToken,
    stop_jobs: CancellationToken,
    signals: StopSignals,
}

impl RunningHost {
    /// Opens the store, loads the plugins, and starts jobs and API, in this order: when the API
    /// answers, everything behind it is there.
    pub(super) async fn start(plan: HostPlan<'_>) -> Result<Self, CliError> {
        let store = open_store(&plan).await?;
        match Self::start_on(plan, Arc::clone(&store)).await {
            Ok(host) => Ok(host),
            Err(error) => {
                store.close().await;
                Err(error)
            }
        }
    }

    async fn start_on(plan: HostPlan<'_>, store: Arc<dyn Store>) -> Result<Self, CliError> {
        let host = HostId::generate(&machine_name());
        let secrets: Arc<dyn SecretSource> = Arc::new(ConfiguredSecrets::new(plan.secrets));
        let engine = start_engine(Arc::clone(&secrets), plan.audit)?;
        // Boxed, for it is large.
        let plugins = open_plugins(&engine, &plan.plugins, &store, &host, &plan.flow);
        let plugins = Box::pin(plugins).await?;
        let Opened { registry, follower } = plugins;
        let chains =
            Chains::open(plan.networks, Arc::clone(&store) as _).await.map_err(|error| {
                CliError::failed(error.to_string(), "[[networks]]", "correct the configuration")
            })?;
        let chains = Arc::new(chains);
        let (listener, address) = listen(plan.listen).await?;

        let metrics = Arc::<Metrics>::default();
        let (seen, backlog_seen) = BacklogJob::channel();
        let limits = plan.http;
        let router = api::router(Api {
            accept: Arc::clone(&store) as _,
            operate: Arc::clone(&store) as _,
            control: Arc::clone(&store) as _,
            breakers: Arc::clone(&store) as _,
            backlog: Arc::clone(&store) as _,
            backlog_seen: backlog_seen.clone(),
            registry: Arc::clone(&registry),
            metrics: metrics_text(&metrics, &engine, &chains, backlog_seen, &limits),
            repair: Arc::clone(&store) as _,
            rates: Arc::clone(&store) as _,
            releases: Arc::clone(&store) as _,
            releases_rule: plan.plugins.rule,
            blame: Arc::clone(&store) as _,
            approvals: Arc::clone(&store) as _,
            policies: Arc::clone(&store) as _,
            ordered: Arc::clone(&registry) as _,
            chains: Arc::clone(&chains),
            judge: Arc::new(judge(&chains, &registry, &engine)?),
            tokens: plan.tokens,
            flow: plan.flow,
            limits,
        });
        let policing = policing(&store, plan.policies)?;
        let services = services(&store, &chains, policing, &metrics, plan.broker, secrets);
        let (stop_api, stop_jobs) = (CancellationToken::new(), CancellationToken::new());
        let dispatcher = DispatcherJob {
            store: Arc::clone(&store) as _,
            limits: Arc::clone(&store) as _,
            unrouted: Arc::clone(&store) as _,
            breakers: Arc::clone(&store) as _,
            registry,
            engine,
            services,
            host,
            config: dispatch_config(&plan.dispatch),
            metrics,
        };
        let duties = Duties {
            confirmation_poll: plan.confirmation_poll,
            interruptions_max: plan.dispatch.interruptions_max,
            keep: plan.retention,
            seen,
            follower,
        };
        // Before anything is in hand: a stop that comes right after the start is one in order, too.
        let signals = StopSignals::listen();
        let jobs = start_jobs(&store, dispatcher, &chains, duties, &stop_jobs);
        let mut api = JoinSet::new();
        api.spawn(api::serve(listener, router, stop_api.clone(), plan.dispatch.grace));
        Ok(Self { address, store, api, jobs, stop_api, stop_jobs, signals })
    }

    /// Runs until the process is asked to stop, then stops in order.
    pub(super) async fn run_until_stopped(mut self) -> Result<(), CliError> {
        let failed = tokio::select! {
            signal = self.signals.any() => {
                tracing::info!(signal, "stopping: no more requests and claims; finishing what is in hand");
                None
            }
            // The API ends by itself only if its listener is lost; a host without it is none.
            ended = self.api.join_next() => Some(ended),
        };
        self.stop().await;
        match failed {
            None => Ok(()),
            Some(ended) => Err(CliError::failed(
                format!("the API ended: {ended:?}"),
                "the HTTP server",
                "start the host again",
            )),
        }
    }

    /// The API first, so that nothing new comes in; then the jobs, which settle what they hold; the
    /// store last.
    async fn stop(mut self) {
        self.stop_api.cancel();
        while let Some(ended) = self.api.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "the HTTP server panicked");
            }
        }
        self.stop_jobs.cancel();
        while let Some(ended) = self.jobs.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a job panicked");
            }
        }
        self.store.close().await;
        tracing::info!("stopped");
    }
}

/// Opens the store. One that is away is waited for, as one is that starts at the same time on the
/// same machine; what waiting does not change is told at once.
async fn open_store(plan: &HostPlan<'_>) -> Result<Arc<dyn Store>, CliError> {
    let began = Instant::now();
    loop {
        let options = StoreOptions {
            flow: plan.flow.clone(),
            policies: plan.policies.policies.clone(),
            connections_max: plan.connections_max,
            pooler: plan.pooler,
            migrate: plan.migrate,
        };
        let error = match store::open(&plan.store, options).await {
            Ok(store) => return Ok(store),
            Err(error) => error,
        };
        let left = plan.store_wait.saturating_sub(began.elapsed());
        if !error.may_pass() || left.is_zero() {
            let remedy = if error.may_pass() {
                "start the store, or correct store.url, and start the host again"
            } else {
                "see the reason above"
            };
            return Err(CliError::failed(error.to_string(), plan.store.to_string(), remedy));
        }
        tracing::warn!(%error, store = %plan.store, "waiting for the store, for up to {} s more", left.as_secs() + 1);
        tokio::time::sleep(STORE_RETRY.min(left)).await;
    }
}

/// What judges withdrawals before they are written: the plugin of their network.
fn judge(
    chains: &Arc<Chains>,
    registry: &Arc<Registry>,
    engine: &SandboxEngine,
) -> Result<ChainJudge, CliError> {
    Ok(ChainJudge {
        chains: Arc::clone(chains),
        registry: Arc::clone(registry),
        engine: engine.clone(),
        broadcast: broadcast_type()?,
    })
}

async fn listen(at: SocketAddr) -> Result<(TcpListener, SocketAddr), CliError> {
    let listener = TcpListener::bind(at).await.map_err(|error| {
        CliError::failed(
            format!("cannot listen on {at}: {error}"),
            "listen",
            "stop the other process, or listen on another port",
        )
    })?;
    let address = listener
        .local_addr()
        .map_err(|error| CliError::failed(error.to_string(), at.to_string(), "try again"))?;
    Ok((listener, address))
}

fn metrics_text(
    metrics: &Arc<Metrics>,
    engine: &SandboxEngine,
    chains: &Arc<Chains>,
    seen: watch::Receiver<Backlog>,
    limits: &api::Limits,
) -> MetricsText {
    let (metrics, outbound) = (Arc::clone(metrics), Arc::clone(engine.outbound()));
    let (chains, untaken_after) = (Arc::clone(chains), limits.untaken_after);
    Arc::new(move || {
        metrics.text(&seen.borrow(), untaken_after) + &outbound.metrics() + &chains.metrics()
    })
}

/// The engine of all plugins, with their way out.
fn start_engine(
    secrets: Arc<dyn SecretSource>,
    audit: AuditConfig,
) -> Result<SandboxEngine, CliError> {
    let engine = SandboxEngine::start().map_err(|error| {
        CliError::failed(error.to_string(), "this machine", "give the process more memory")
    })?;
    let outbound = Outbound::new()
        .map_err(|error| CliError::failed(error, "this machine", "start the host again"))?;
    let log = match audit.file {
        None => AuditLog::Log,
        Some(path) => {
            let place = path.display().to_string();
            let opened = AuditFile::open(path, audit.file_bytes_max, audit.files);
            AuditLog::File(opened.map_err(|error| {
                CliError::failed(
                    format!("audit.file cannot be written: {error}"),
                    place,
                    "let the host write it, or name another",
                )
            })?)
        }
    };
    Ok(engine.with_outbound(Arc::new(outbound.with_secrets(secrets).with_audit(log))))
}

fn dispatch_config(config: &DispatchConfig) -> jobs::DispatchConfig {
    jobs::DispatchConfig {
        lease: config.lease,
        poll: config.poll,
        grace: config.grace,
        batch: config.batch,
        attempts_max: config.attempts_max,
    }
}

/// What the jobs beside the dispatcher are told.
struct Duties {
    confirmation_poll: Duration,
    interruptions_max: u32,
    keep: Retention,
    seen: watch::Sender<Backlog>,
    /// Follows what releases there are.
    follower: Follower,
}

fn start_jobs(
    store: &Arc<dyn Store>,
    dispatcher: DispatcherJob,
    chains: &Chains,
    duties: Duties,
    stop: &CancellationToken,
) -> JoinSet<()> {
    let Duties { confirmation_poll, interruptions_max, keep, seen, follower } = duties;
    let metrics = &Arc::clone(&dispatcher.metrics);
    let registry = Arc::clone(&dispatcher.registry);
    let mut jobs = JoinSet::new();
    jobs.spawn(dispatcher.run(stop.clone()));
    let retry = RetryJob { store: Arc::clone(store) as _, poll: RETRY_POLL };
    jobs.spawn(retry.run(Arc::clone(metrics), stop.clone()));
    let failure =
        FailureJob { store: Arc::clone(store) as _, poll: FAILURE_POLL, interruptions_max };
    jobs.spawn(failure.run(Arc::clone(metrics), stop.clone()));
    let retention = RetentionJob {
        store: Arc::clone(store) as _,
        limits: Arc::clone(store) as _,
        poll: RETENTION_POLL,
        keep,
    };
    jobs.spawn(retention.run(Arc::clone(metrics), stop.clone()));
    let backlog = BacklogJob { store: Arc::clone(store) as _, registry, poll: BACKLOG_POLL, seen };
    jobs.spawn(backlog.run(Arc::clone(metrics), stop.clone()));
    jobs.spawn(follower.run(Arc::clone(metrics), stop.clone()));
    for (_, chain) in chains.iter() {
        let confirmation = ConfirmationJob { chain: Arc::clone(chain), poll: confirmation_poll };
        jobs.spawn(confirmation.run(Arc::clone(metrics), stop.clone()));
    }
    jobs
}

/// What the plugins' host functions rest on.
fn services(
    store: &Arc<dyn Store>,
    chains: &Arc<Chains>,
    policing: Policing,
    metrics: &Arc<Metrics>,
    broker: Option<Arc<dyn Broker>>,
    secrets: Arc<dyn SecretSource>,
) -> Services {
    let signer = ChainSigner {
        chains: Arc::clone(chains),
        store: Arc::clone(store) as _,
        policing,
        metrics: Arc::clone(metrics),
    };
    Services {
        checkpoints: Arc::new(StoreCheckpoints(Arc::clone(store) as _)),
        signer: Arc::new(signer),
        messaging: Arc::new(BrokerMessaging(broker)),
        secrets,
    }
}

fn broadcast_type() -> Result<crate::domain::EventType, CliError> {
    event_types::BLOCKCHAIN_BROADCAST_REQUESTED.parse().map_err(
        |error: crate::domain::NameError| {
            CliError::failed(error.to_string(), "this build", "report it")
        },
    )
}

fn machine_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "host".to_owned() } else { name.to_owned() }
}
