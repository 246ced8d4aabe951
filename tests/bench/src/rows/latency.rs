//! From the commit of an event to the start of its handler, at a steady rate.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::fallible::Fallible;
use crate::fill::{self, EVENT_TYPE, PAYLOAD};
use crate::fleet::Fleet;
use crate::report::Report;
use crate::scene::Scene;

use super::dispatch::{DATABASE, cluster};
use super::single::percentile_ms;

const EVENTS_PER_SECOND: u32 = 500;

pub(crate) async fn measure(scene: &Scene, report: &mut Report) -> Fallible<()> {
    for (hosts, name) in [(1, "1 host"), (8, "8 hosts")] {
        let url = fill::empty_postgres(cluster(scene)?, DATABASE).await?;
        let mut times = delays(scene, &url, hosts).await?;
        let command = format!("{EVENTS_PER_SECOND} inserts/s by SQL, from the commit's answer");
        for percent in [50, 99] {
            let row = format!("latency/{name} p{percent}");
            report.add(&row, percentile_ms(&mut times, percent), "ms", &command);
        }
    }
    Ok(())
}

async fn delays(scene: &Scene, url: &str, hosts: usize) -> Fallible<Vec<Duration>> {
    let mut fleet = Fleet::start(scene, url, hosts, true).await?;
    fleet.go().await?;
    let pool = PgPoolOptions::new().max_connections(8).min_connections(8).connect(url).await?;
    // Hosts and connections warm up on events that are not counted.
    let seconds = u32::try_from(scene.options.seconds().as_secs())?;
    let warm = EVENTS_PER_SECOND;
    let count = EVENTS_PER_SECOND * seconds + warm;
    let writer = tokio::spawn(write_steadily(pool, count));
    let mut started = HashMap::new();
    while fleet.done() < u64::from(count) || started.len() < count as usize {
        if let Some(start) = fleet.listen().await? {
            started.insert(start.event, start.at_micros);
        }
    }
    let committed = writer.await??;
    fleet.stop().await?;
    let delays = committed.into_iter().skip(warm as usize).map(|(event, committed_at)| {
        let started_at = started.get(&event.to_string()).ok_or("an event was never started")?;
        // A handler may start before the writer has heard of its commit.
        Ok(Duration::from_micros(u64::try_from(started_at - committed_at).unwrap_or(0)))
    });
    delays.collect()
}

/// One transaction an event, at fixed times however long each takes; ordered by those times.
async fn write_steadily(pool: PgPool, count: u32) -> Fallible<Vec<(Uuid, i64)>> {
    let begun = Instant::now();
    let mut writes = JoinSet::new();
    for number in 0..count {
        let due = begun + Duration::from_secs(1) / EVENTS_PER_SECOND * number;
        tokio::time::sleep_until(due.into()).await;
        let pool = pool.clone();
        writes.spawn(async move {
            let event = Uuid::now_v7();
            sqlx::query(
                "INSERT INTO outbox_events (id, aggregate_type, aggregate_id, event_type, payload) \
                 VALUES ($1, 'WITHDRAWAL', $2, $3, $4::text::json)",
            )
            .bind(event)
            .bind(event.to_string())
            .bind(EVENT_TYPE)
            .bind(PAYLOAD)
            .execute(&pool)
            .await?;
            Fallible::Ok((number, event, chrono::Utc::now().timestamp_micros()))
        });
    }
    let mut written = Vec::with_capacity(count as usize);
    while let Some(write) = writes.join_next().await {
        written.push(write??);
    }
    written.sort_unstable();
    Ok(written.into_iter().map(|(_, event, at)| (event, at)).collect())
}
