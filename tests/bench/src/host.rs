//! One host in a process of its own: real store, real registry, real engine, and the jobs that keep
//! an outbox going. Says `ready`, waits for a line, then says `done COUNT` as it goes on.

use std::sync::Arc;
use std::time::Duration;

use tidegate::domain::HostId;
use tidegate::jobs::{DispatchConfig, DispatcherJob, FailureJob, Metrics, RetryJob};
use tidegate::plugin::{Registry, Routes, SandboxEngine};
use tidegate::store::{self, StoreOptions};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::count::Counting;
use crate::fallible::Fallible;
use crate::options::HostArguments;
use crate::process::heard;
use crate::services::services;

/// How exact the moment is at which the parent sees the last event.
const REPORT_EVERY: Duration = Duration::from_millis(5);

pub(crate) async fn run(arguments: HostArguments) -> Fallible<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new("warn"))
        .with_writer(std::io::stderr)
        .init();
    let store = store::open(&arguments.store.parse()?, StoreOptions::default()).await?;
    let counting = Arc::new(Counting::new(Arc::clone(&store), arguments.starts));
    let engine = SandboxEngine::start()?;
    let routes = Routes::from_folder(&engine, &arguments.plugins, None)?;
    let stop = CancellationToken::new();
    let metrics = Arc::<Metrics>::default();
    let dispatcher = DispatcherJob {
        store: Arc::clone(&counting) as _,
        limits: Arc::clone(&store) as _,
        unrouted: Arc::clone(&store) as _,
        breakers: Arc::clone(&store) as _,
        registry: Arc::new(Registry::new(routes)),
        engine,
        services: services(&store),
        host: HostId::generate("bench"),
        config: DispatchConfig::default(),
        metrics: Arc::clone(&metrics),
    };
    let retry = RetryJob { store: Arc::clone(&store) as _, poll: Duration::from_millis(250) };
    let failure = FailureJob {
        store: Arc::clone(&store) as _,
        poll: Duration::from_secs(1),
        interruptions_max: 20,
    };
    println!("ready");
    if heard().await {
        let mut jobs = JoinSet::new();
        jobs.spawn(dispatcher.run(stop.clone()));
        jobs.spawn(retry.run(Arc::clone(&metrics), stop.clone()));
        jobs.spawn(failure.run(Arc::clone(&metrics), stop.clone()));
        tokio::select! {
            _ = heard() => {}
            () = report(&counting) => {}
        }
        stop.cancel();
        while jobs.join_next().await.is_some() {}
    }
    store.close().await;
    Ok(())
}

async fn report(counting: &Counting) {
    let mut said = 0;
    loop {
        tokio::time::sleep(REPORT_EVERY).await;
        for (event, started_at) in counting.take_starts() {
            println!("start {event} {started_at}");
        }
        let done = counting.done();
        if done != said {
            println!("done {done}");
            said = done;
        }
    }
}
