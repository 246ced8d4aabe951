//! River for Rust, on Postgres and on SQLite.

use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use riverqueue::migrate::{PostgresMigrator, SqliteMigrator};
use riverqueue::sqlx::postgres::PgPoolOptions;
use riverqueue::sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use riverqueue::{
    BoxError, Client, ClientBuilder, Job, JobArgs, QueueConfig, WorkContext, WorkOutcome, Workers,
    sqlx,
};
use serde::{Deserialize, Serialize};

use crate::job::{self, FILL_BATCH, Fallible, HANDLED};

#[derive(Clone, Debug, Deserialize, JobArgs, Serialize)]
#[river(kind = "no_op")]
struct NoOp {
    payload: serde_json::Value,
}

async fn no_op(_context: WorkContext, _job: Job<NoOp>) -> Result<WorkOutcome, BoxError> {
    HANDLED.fetch_add(1, Ordering::Relaxed);
    Ok(WorkOutcome::Complete)
}

const COMPLETED: &str = "SELECT count(*) FROM river_job WHERE state = 'completed'";

pub(crate) async fn on_postgres(
    url: &str,
    jobs: usize,
    workers: usize,
    pause: Option<Duration>,
) -> Fallible<Duration> {
    let pool = PgPoolOptions::new().max_connections(20).connect(url).await?;
    PostgresMigrator::new(pool.clone()).migrate_up().await?;
    work(Client::builder(pool.clone()), jobs, workers, pause, async || {
        sqlx::query_scalar::<_, i64>(COMPLETED).fetch_one(&pool).await
    })
    .await
}

pub(crate) async fn on_sqlite(
    path: &str,
    jobs: usize,
    workers: usize,
    pause: Option<Duration>,
) -> Fallible<Duration> {
    let options = SqliteConnectOptions::from_str(&format!("sqlite://{path}"))?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(30));
    let pool = SqlitePoolOptions::new().connect_with(options).await?;
    SqliteMigrator::new(pool.clone()).migrate_up().await?;
    work(Client::builder(pool.clone()), jobs, workers, pause, async || {
        sqlx::query_scalar::<_, i64>(COMPLETED).fetch_one(&pool).await
    })
    .await
}

async fn work(
    builder: ClientBuilder,
    jobs: usize,
    workers: usize,
    pause: Option<Duration>,
    completed: impl AsyncFn() -> Result<i64, sqlx::Error>,
) -> Fallible<Duration> {
    let mut registered = Workers::new();
    registered.add_fn(no_op)?;
    let mut queue = QueueConfig::new(workers);
    let mut builder = builder.workers(registered);
    if let Some(pause) = pause {
        queue = queue.with_fetch_cooldown(pause).with_fetch_poll_interval(pause * 10);
        builder = builder.fetch_cooldown(pause);
    }
    let client = builder.queue("default", queue).build()?;
    for first in (0..jobs).step_by(FILL_BATCH) {
        let batch = (first..jobs.min(first + FILL_BATCH))
            .map(|number| NoOp { payload: job::payload(number) });
        client.insert_many(batch).await?;
    }
    job::wait_for_go().await?;
    let clock = Instant::now();
    let mut run = client.start()?;
    job::wait_for_handlers(jobs).await;
    while completed().await? < i64::try_from(jobs)? {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = clock.elapsed();
    run.stop().await?;
    Ok(took)
}
