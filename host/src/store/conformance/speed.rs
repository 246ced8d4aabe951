//! How fast claim and settle are. No assertion: run with `TIDEGATE_SPEED=1 … -- --nocapture speed`.

use std::time::Instant;

use super::on_both_stores;
use super::world::{Db, World, done, settlement};

on_both_stores!(claim_and_settle);

async fn claim_and_settle(world: &World) {
    const EVENTS: u32 = 40_000;
    if std::env::var_os("TIDEGATE_SPEED").is_none() {
        return;
    }
    let fill = match &world.db {
        Db::Sqlite(_) => format!(
            "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) \
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {EVENTS}) \
             SELECT 'ORDER', i, 'A', '{{\"amount\": \"1.5\", \"to\": \"somebody\"}}' FROM n"
        ),
        Db::Postgres(_) => format!(
            "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) \
             SELECT 'ORDER', i, 'A', '{{\"amount\": \"1.5\", \"to\": \"somebody\"}}' \
             FROM generate_series(1, {EVENTS}) AS i"
        ),
    };
    world.execute(&fill).await.unwrap();
    let begun = Instant::now();
    let mut handled = 0_u32;
    loop {
        let events = world.claim("A", 200).await;
        if events.is_empty() {
            break;
        }
        handled += u32::try_from(events.len()).unwrap();
        let batch = events.iter().map(|event| settlement(event, done())).collect();
        world.store.settle(batch).await.unwrap();
    }
    assert_eq!(handled, EVENTS);
    let store = world.url.to_string();
    let rate = f64::from(EVENTS) / begun.elapsed().as_secs_f64();
    println!("{}: {rate:.0} events/s", store.split(':').next().unwrap_or_default());
}
