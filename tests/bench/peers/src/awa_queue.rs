//! Awa on Postgres, with the storage engine that a fresh installation uses.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use awa::{Client, InsertOpts, JobArgs, JobContext, JobError, JobResult, QueueConfig, Worker};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;

use crate::job::{self, FILL_BATCH, Fallible, HANDLED};

const QUEUE: &str = "bench";

#[derive(Debug, Serialize, Deserialize, JobArgs)]
struct NoOp {
    payload: serde_json::Value,
}

struct NoOpWorker;

#[async_trait::async_trait]
impl Worker for NoOpWorker {
    fn kind(&self) -> &'static str {
        "no_op"
    }

    async fn perform(&self, _context: &JobContext) -> Result<JobResult, JobError> {
        HANDLED.fetch_add(1, Ordering::Relaxed);
        Ok(JobResult::Completed)
    }
}

pub(crate) async fn run(
    url: &str,
    jobs: usize,
    workers: usize,
    pause: Option<Duration>,
) -> Fallible<Duration> {
    let defaults = QueueConfig::default();
    let pool = PgPoolOptions::new().max_connections(20).connect(url).await?;
    awa::migrations::run(&pool).await?;
    for first in (0..jobs).step_by(FILL_BATCH) {
        let batch = (first..jobs.min(first + FILL_BATCH))
            .map(|number| {
                let args = NoOp { payload: job::payload(number) };
                let opts = InsertOpts { queue: QUEUE.into(), ..InsertOpts::default() };
                awa::model::insert::params_with(&args, opts)
            })
            .collect::<Result<Vec<_>, _>>()?;
        awa::insert_many_copy_from_pool(&pool, &batch).await?;
    }
    let client = Client::builder(pool.clone())
        .queue(
            QUEUE,
            QueueConfig {
                max_workers: u32::try_from(workers)?,
                poll_interval: pause.unwrap_or(defaults.poll_interval),
                ..defaults
            },
        )
        .register_worker(NoOpWorker)
        .build()?;
    job::wait_for_go().await?;
    let clock = Instant::now();
    client.start().await?;
    job::wait_for_handlers(jobs).await;
    while completed(&pool).await? < i64::try_from(jobs)? {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = clock.elapsed();
    client.shutdown(Duration::from_secs(5)).await;
    Ok(took)
}

async fn completed(pool: &sqlx::PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT count(*) FROM awa.jobs WHERE queue = $1 AND state = 'completed'")
        .bind(QUEUE)
        .fetch_one(pool)
        .await
}
