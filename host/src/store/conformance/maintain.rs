use std::time::Duration;

use super::on_both_stores;
use super::world::{BROADCAST, Db, MINUTE, SYNC, World, done, lease, retry_after};
use crate::domain::{EventState, EventStatus, FailureCode};
use crate::store::HistoryKind;

on_both_stores!(
    only_what_is_due_is_promoted,
    promotion_works_in_batches,
    a_promoted_event_queues_by_the_time_it_was_due,
    a_lost_lease_becomes_an_interruption_and_no_attempt,
    a_held_lease_is_not_taken_over,
    a_lease_of_a_claim_that_is_settled_in_part_is_still_found_when_it_is_lost,
    an_event_that_loses_its_hosts_again_and_again_is_poison,
    an_event_past_its_time_fails_if_it_never_began,
    an_event_that_began_outlives_its_time,
    giving_a_broadcast_up_fails_the_withdrawal,
    giving_up_works_in_batches,
);

async fn only_what_is_due_is_promoted(world: &World) {
    let waiting = world.insert("A", "1").await;
    let event = world.claim_one("A").await;
    world.settle_one(&event, retry_after(MINUTE)).await;
    let pending = world.insert("B", "1").await;
    let finished = world.insert("C", "1").await;
    let event = world.claim_one("C").await;
    world.settle_one(&event, done()).await;
    let running = world.insert("D", "1").await;
    world.claim_one("D").await;
    assert_eq!(world.store.promote_due(10).await.unwrap(), 0);
    let mut before = Vec::new();
    for id in [waiting, pending, finished, running] {
        before.push(world.row(id).await);
    }
    world.age(2 * MINUTE).await;
    let mut wakeups = world.store.wakeups();
    wakeups.mark_unchanged();
    assert_eq!(world.store.promote_due(10).await.unwrap(), 1);
    assert!(wakeups.has_changed().unwrap());
    assert_eq!(world.row(waiting).await.state, EventState::Pending);
    for row in &before[1..] {
        assert_eq!(world.row(row.id).await.state.status(), row.state.status());
    }
    assert_eq!(world.store.promote_due(10).await.unwrap(), 0);
}

async fn promotion_works_in_batches(world: &World) {
    for n in 0..4 {
        world.insert("A", &n.to_string()).await;
    }
    for event in world.claim("A", 10).await {
        world.settle_one(&event, retry_after(Duration::ZERO)).await;
    }
    for expected in [3, 1, 0] {
        assert_eq!(world.store.promote_due(3).await.unwrap(), expected);
    }
}

async fn a_promoted_event_queues_by_the_time_it_was_due(world: &World) {
    let retried = world.insert("A", "1").await;
    let event = world.claim_one("A").await;
    world.settle_one(&event, retry_after(Duration::ZERO)).await;
    let EventState::Retrying { next_retry_at } = world.row(retried).await.state else { panic!() };
    world.store.promote_due(1).await.unwrap();
    assert_eq!(world.row(retried).await.available_at, next_retry_at);
}

async fn a_lost_lease_becomes_an_interruption_and_no_attempt(world: &World) {
    for n in 0..3 {
        world.insert("A", &n.to_string()).await;
    }
    let events = world.claim("A", 3).await;
    world.age(2 * MINUTE).await;
    assert_eq!(world.store.take_over_lost_leases(2).await.unwrap(), 2);
    assert_eq!(world.store.take_over_lost_leases(2).await.unwrap(), 1);
    assert_eq!(world.store.take_over_lost_leases(2).await.unwrap(), 0);
    let history = world.store.event(events[0].id).await.unwrap().unwrap();
    let row = &history.event;
    assert_eq!(row.state.status(), EventStatus::Retrying);
    assert_eq!((row.attempt_count, row.interruption_count), (0, 1));
    assert!(row.outcome_unknown);
    assert_eq!(row.last_error.as_deref(), Some("lease lost"));
    assert_eq!(history.entries[0].kind, HistoryKind::LeaseLost);
    assert_eq!(history.entries[0].reason, "host host-a was lost");
    assert_eq!(world.store.promote_due(10).await.unwrap(), 3);
}

async fn a_lease_of_a_claim_that_is_settled_in_part_is_still_found_when_it_is_lost(world: &World) {
    // Postgres's first look is at the whole queue; the later ones are at what the claims name.
    assert_eq!(world.store.take_over_lost_leases(10).await.unwrap(), 0);
    for n in 0..3 {
        world.insert("A", &n.to_string()).await;
    }
    let events = world.claim("A", 3).await;
    world.settle_one(&events[0], done()).await;
    world.age(MINUTE / 2).await;
    let prolonged = world.store.extend(&[lease(&events[1])], MINUTE).await.unwrap();
    assert_eq!(prolonged, [events[1].id]);
    world.age(MINUTE * 2 / 3).await;
    assert_eq!(world.store.take_over_lost_leases(10).await.unwrap(), 1);
    assert_eq!(world.row(events[2].id).await.state.status(), EventStatus::Retrying);
    world.age(MINUTE / 2).await;
    assert_eq!(world.store.take_over_lost_leases(10).await.unwrap(), 1);
    assert_eq!(world.row(events[1].id).await.state.status(), EventStatus::Retrying);
    if let Db::Postgres(_) = &world.db {
        assert_eq!(world.count("outbox_claims").await, 0, "nothing is in hand");
        for n in 3..6 {
            world.insert("A", &n.to_string()).await;
            let event = world.claim_one("A").await;
            assert_eq!(world.claim("A", 10).await, []);
            world.settle_one(&event, done()).await;
        }
        assert_eq!(world.count("outbox_claims").await, 1, "each is written over the last");
    }
}

async fn a_held_lease_is_not_taken_over(world: &World) {
    let id = world.insert("A", "1").await;
    let event = world.claim_one("A").await;
    world.age(MINUTE / 2).await;
    assert_eq!(world.store.take_over_lost_leases(10).await.unwrap(), 0);
    assert_eq!(lease(&world.row(id).await), lease(&event));
}

async fn an_event_that_loses_its_hosts_again_and_again_is_poison(world: &World) {
    let id = world.insert("A", "1").await;
    let healthy = world.insert("A", "2").await;
    for lost in 1..=2 {
        assert_eq!(world.store.fail_hopeless(2, 10).await.unwrap(), []);
        world
            .execute(&format!("UPDATE outbox_events SET valid_until = NULL WHERE id = '{id}'"))
            .await
            .unwrap();
        world.claim("A", 1).await;
        world.age(2 * MINUTE).await;
        assert_eq!(world.store.take_over_lost_leases(10).await.unwrap(), 1);
        assert_eq!(world.row(id).await.interruption_count, lost);
        if lost == 1 {
            world.store.promote_due(10).await.unwrap();
            // It goes to the front again, before the healthy one.
            world
                .execute(&format!(
                    "UPDATE outbox_events SET available_at = created_at WHERE id = '{id}'"
                ))
                .await
                .unwrap();
        }
    }
    let failed = world.store.fail_hopeless(2, 10).await.unwrap();
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].0, failed[0].1.code), (id, FailureCode::Poison));
    let history = world.store.event(id).await.unwrap().unwrap();
    assert!(matches!(history.event.state, EventState::Failed { .. }));
    assert_eq!(history.event.last_error.as_ref(), Some(&failed[0].1.text));
    assert_eq!(history.entries.last().unwrap().kind, HistoryKind::Failed);
    assert_eq!(world.row(healthy).await.state, EventState::Pending);
    assert_eq!(world.store.fail_hopeless(2, 10).await.unwrap(), []);
}

/// In a minute, as each database writes it.
fn soon(world: &World) -> &'static str {
    match &world.db {
        Db::Sqlite(_) => {
            ", CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER) * 1000 + 60000000"
        }
        Db::Postgres(_) => ", now() + interval '1 minute'",
    }
}

async fn an_event_past_its_time_fails_if_it_never_began(world: &World) {
    let id = world.insert_with("A", "1", ", valid_until", soon(world)).await;
    let unbounded = world.insert("A", "2").await;
    assert_eq!(world.store.fail_hopeless(9, 10).await.unwrap(), []);
    world.age(2 * MINUTE).await;
    // Too late to be delivered, also for a claim that comes before the failure job.
    let claimed = world.claim("A", 10).await;
    assert_eq!(claimed.iter().map(|e| e.id).collect::<Vec<_>>(), [unbounded]);
    let failed = world.store.fail_hopeless(9, 10).await.unwrap();
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].0, failed[0].1.code), (id, FailureCode::Expired));
    // Who replays wants it delivered, late or not.
    world.store.replay(id, "me").await.unwrap();
    assert_eq!(world.store.fail_hopeless(9, 10).await.unwrap(), []);
    assert_eq!(world.claim_one("A").await.id, id);
}

async fn an_event_that_began_outlives_its_time(world: &World) {
    let id = world.insert_with("A", "1", ", valid_until", soon(world)).await;
    let event = world.claim_one("A").await;
    world.settle_one(&event, retry_after(Duration::ZERO)).await;
    world.age(2 * MINUTE).await;
    assert_eq!(world.store.fail_hopeless(9, 10).await.unwrap(), []);
    world.store.promote_due(10).await.unwrap();
    assert_eq!(world.claim_one("A").await.id, id);
}

async fn giving_a_broadcast_up_fails_the_withdrawal(world: &World) {
    let withdrawal = world.accept().await;
    world.claim_one(BROADCAST).await;
    world.claim_one(SYNC).await;
    world.age(2 * MINUTE).await;
    assert_eq!(world.store.take_over_lost_leases(10).await.unwrap(), 2);
    assert_eq!(world.store.fail_hopeless(1, 10).await.unwrap().len(), 2);
    let failed = world.store.withdrawal(withdrawal.id).await.unwrap().unwrap();
    assert_eq!(failed.state.failure_reason(), Some("poison: hosts were lost 1 times at it"));
    assert_eq!(world.events_of(withdrawal.id).await.len(), 5);
    let age = chrono::Utc::now() - failed.updated_at;
    assert!(age.num_seconds().abs() < 60, "{age}");
}

async fn giving_up_works_in_batches(world: &World) {
    for n in 0..4 {
        world.insert_with("A", &n.to_string(), ", valid_until", soon(world)).await;
    }
    world.age(2 * MINUTE).await;
    for expected in [3, 1, 0] {
        assert_eq!(world.store.fail_hopeless(9, 3).await.unwrap().len(), expected);
    }
}
