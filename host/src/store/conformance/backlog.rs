use std::time::Duration;

use super::on_both_stores;
use super::world::{Db, MINUTE, World, done, retry_after};
use crate::domain::{Decision, EventType, FailureCode, FailureReason};
use crate::store::{BACKLOG_COUNT_MAX, ControlNote, Count, TypeBacklog, backlog_of};

on_both_stores!(
    an_empty_outbox_has_no_backlog,
    each_status_is_counted_by_type,
    the_age_is_that_of_the_oldest_undelivered_event,
    what_is_scheduled_is_no_backlog,
    what_nobody_takes_is_seen,
    counting_stops_at_its_bound,
    what_is_paused_is_not_untaken,
    what_an_order_holds_is_counted,
);

async fn of(world: &World, event_type: &str) -> TypeBacklog {
    let backlog = world.store.backlog().await.unwrap();
    backlog.into_iter().find(|backlog| backlog.event_type.as_str() == event_type).unwrap()
}

fn exactly(number: u64) -> Count {
    Count { number, at_least: false }
}

/// Within the time that a slow test takes.
fn about(age: Option<Duration>, expected: Duration) {
    let age = age.unwrap();
    assert!(age >= expected && age < expected + MINUTE, "{age:?}, not {expected:?}");
}

async fn an_empty_outbox_has_no_backlog(world: &World) {
    assert_eq!(world.store.backlog().await.unwrap(), []);
    world.insert("A", "1").await;
    let event = world.claim_one("A").await;
    world.settle_one(&event, done()).await;
    assert_eq!(world.store.backlog().await.unwrap(), []);
}

async fn each_status_is_counted_by_type(world: &World) {
    for n in 0..6 {
        world.insert("A", &n.to_string()).await;
    }
    world.insert("B", "1").await;
    let events = world.claim("A", 3).await;
    world.settle_one(&events[0], retry_after(MINUTE)).await;
    let reason = FailureReason { code: FailureCode::Rejected, text: "no".into() };
    world.settle_one(&events[1], Decision::Fail(reason)).await;
    let a = of(world, "A").await;
    assert_eq!((a.pending, a.processing), (exactly(3), exactly(1)));
    assert_eq!((a.retrying, a.failed), (exactly(1), exactly(1)));
    let b = of(world, "B").await;
    assert_eq!((b.pending, b.processing), (exactly(1), exactly(0)));
    assert_eq!(world.store.backlog().await.unwrap().len(), 2);
}

async fn the_age_is_that_of_the_oldest_undelivered_event(world: &World) {
    world.insert("A", "1").await;
    world.age(5 * MINUTE).await;
    let event = world.claim_one("A").await;
    about(of(world, "A").await.oldest_age, 5 * MINUTE);
    world.settle_one(&event, retry_after(Duration::ZERO)).await;
    about(of(world, "A").await.oldest_age, 5 * MINUTE);
    // In the queue again, and due for a moment only, but as old as before.
    world.store.promote_due(1).await.unwrap();
    let a = of(world, "A").await;
    about(a.oldest_age, 5 * MINUTE);
    about(a.unclaimed_for, Duration::ZERO);
    // A failure waits for a person, not for a host.
    let event = world.claim_one("A").await;
    let reason = FailureReason { code: FailureCode::Rejected, text: "no".into() };
    world.settle_one(&event, Decision::Fail(reason)).await;
    assert_eq!(of(world, "A").await.oldest_age, None);
}

async fn what_is_scheduled_is_no_backlog(world: &World) {
    let later = match &world.db {
        Db::Sqlite(_) => ", (strftime('%s', 'now') + 3600) * 1000000",
        Db::Postgres(_) => ", now() + interval '1 hour'",
    };
    world.insert_with("A", "1", ", available_at", later).await;
    assert_eq!(world.store.backlog().await.unwrap(), []);
    world.age(61 * MINUTE).await;
    about(of(world, "A").await.oldest_age, MINUTE);
}

async fn what_nobody_takes_is_seen(world: &World) {
    world.insert("A", "1").await;
    assert!(!of(world, "A").await.is_untaken(MINUTE));
    world.age(2 * MINUTE).await;
    assert!(of(world, "A").await.is_untaken(MINUTE));
    world.insert("A", "2").await;
    world.claim("A", 1).await;
    assert!(!of(world, "A").await.is_untaken(MINUTE));
}

async fn counting_stops_at_its_bound(world: &World) {
    let events = BACKLOG_COUNT_MAX + 1;
    let fill = match &world.db {
        Db::Sqlite(_) => format!(
            "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) \
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {events}) \
             SELECT 'ORDER', i, 'A', '{{}}' FROM n"
        ),
        Db::Postgres(_) => format!(
            "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) \
             SELECT 'ORDER', i, 'A', '{{}}' FROM generate_series(1, {events}) AS i"
        ),
    };
    world.execute(&fill).await.unwrap();
    let bound = Count { number: u64::from(BACKLOG_COUNT_MAX), at_least: true };
    assert_eq!(of(world, "A").await.pending, bound);
}

async fn what_is_paused_is_not_untaken(world: &World) {
    world.insert("A", "1").await;
    world.age(2 * MINUTE).await;
    assert!(of(world, "A").await.is_untaken(MINUTE));
    let a = "A".parse().unwrap();
    world.store.pause_route(&a, ControlNote { reason: "away", by: "me" }).await.unwrap();
    let paused = of(world, "A").await;
    assert_eq!((paused.paused, paused.is_untaken(MINUTE)), (true, false));
    about(paused.oldest_age, 2 * MINUTE);
    world.store.resume_route(&a, ControlNote { reason: "back", by: "me" }).await.unwrap();
    assert!(of(world, "A").await.is_untaken(MINUTE));
}

async fn what_an_order_holds_is_counted(world: &World) {
    for (event_type, aggregate) in [("A", "1"), ("B", "1"), ("A", "1"), ("A", "2"), ("C", "1")] {
        world.insert(event_type, aggregate).await;
    }
    let among: Vec<EventType> = ["A", "B"].map(|name| name.parse().unwrap()).into();
    let held = async || {
        let types = backlog_of(&*world.store, [among.as_slice()]).await.unwrap();
        types
            .into_iter()
            .map(|found| (found.event_type.to_string(), found.held))
            .collect::<Vec<_>>()
    };
    let expected = |a, b| {
        [("A", a), ("B", b), ("C", 0)].map(|(name, number)| (name.to_owned(), exactly(number)))
    };
    assert_eq!(held().await, expected(1, 1));
    let event = world.claim_ordered("A", 1, &among).await.remove(0);
    let reason = FailureReason { code: FailureCode::Rejected, text: "no".into() };
    world.settle_one(&event, Decision::Fail(reason)).await;
    assert_eq!(held().await, expected(1, 1), "a FAILED one holds as well");
    world.store.skip(event.id, "me").await.unwrap();
    assert_eq!(held().await, expected(1, 0));
}
