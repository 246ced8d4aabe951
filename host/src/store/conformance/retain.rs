use std::time::Duration;

use super::on_both_stores;
use super::world::{BROADCAST, MINUTE, SYNC, World, done, lease, retry_after};
use crate::domain::{Decision, EventStatus, FailureCode, FailureReason};

on_both_stores!(
    only_what_is_finished_and_old_is_deleted,
    what_belongs_to_a_deleted_event_goes_with_it,
    events_of_an_open_withdrawal_stay,
    deleting_works_in_batches,
    answers_are_deleted_after_their_own_time,
);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn failed() -> Decision {
    Decision::Fail(FailureReason { code: FailureCode::Rejected, text: "no".into() })
}

async fn only_what_is_finished_and_old_is_deleted(world: &World) {
    world.insert("A", "old").await;
    let event = world.claim_one("A").await;
    world.settle_one(&event, done()).await;
    let pending = world.insert("B", "1").await;
    let retrying = world.insert("C", "1").await;
    let event = world.claim_one("C").await;
    world.settle_one(&event, retry_after(30 * DAY)).await;
    let refused = world.insert("D", "1").await;
    let event = world.claim_one("D").await;
    world.settle_one(&event, failed()).await;
    let processing = world.insert("E", "1").await;
    world.claim_one("E").await;
    world.age(2 * DAY).await;
    let young = world.insert("F", "1").await;
    let event = world.claim_one("F").await;
    world.settle_one(&event, done()).await;
    let mut before = Vec::new();
    for id in [pending, retrying, refused, processing, young] {
        before.push(world.store.event(id).await.unwrap().unwrap());
    }
    assert_eq!(world.store.delete_finished(DAY, 10).await.unwrap(), 1);
    assert_eq!(world.store.delete_finished(DAY, 10).await.unwrap(), 0);
    for history in before {
        let now = world.store.event(history.event.id).await.unwrap();
        assert_eq!(now.as_ref(), Some(&history));
    }
    assert_eq!(world.count("outbox_events").await, 5);
    // The failed one keeps its history, and the one that is retried.
    assert_eq!(world.count("outbox_attempts").await, 2);
}

async fn what_belongs_to_a_deleted_event_goes_with_it(world: &World) {
    world.insert("A", "1").await;
    let event = world.claim_one("A").await;
    assert!(world.store.save_checkpoint(lease(&event), b"here").await.unwrap());
    world.settle_one(&event, retry_after(Duration::ZERO)).await;
    world.store.promote_due(1).await.unwrap();
    let event = world.claim_one("A").await;
    world.settle_one(&event, done()).await;
    assert_eq!(world.store.delete_finished(Duration::ZERO, 10).await.unwrap(), 1);
    for table in ["outbox_events", "outbox_attempts", "checkpoints"] {
        assert_eq!(world.count(table).await, 0, "{table}");
    }
}

async fn events_of_an_open_withdrawal_stay(world: &World) {
    let withdrawal = world.accept().await;
    let sync = world.claim_one(SYNC).await;
    world.settle_one(&sync, done()).await;
    // A stranger's event about a withdrawal that is none holds nothing up, nor is it held.
    world
        .execute(
            "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, status) \
             VALUES ('WITHDRAWAL', 'no uuid', 'A', '{}', 'DONE')",
        )
        .await
        .unwrap();
    world.age(2 * DAY).await;
    assert_eq!(world.store.delete_finished(DAY, 10).await.unwrap(), 1);
    assert_eq!(world.row(sync.id).await.state.status(), EventStatus::Done);
    // Final: its finished events go, and what is FAILED or unfinished stays.
    let broadcast = world.claim_one(BROADCAST).await;
    world.settle_one(&broadcast, failed()).await;
    assert_eq!(world.status(withdrawal.id).await, "FAILED");
    assert_eq!(world.store.delete_finished(DAY, 10).await.unwrap(), 1);
    assert!(world.store.event(sync.id).await.unwrap().is_none());
    assert_eq!(world.row(broadcast.id).await.state.status(), EventStatus::Failed);
    assert_eq!(world.status(withdrawal.id).await, "FAILED");
}

async fn deleting_works_in_batches(world: &World) {
    for n in 0..4 {
        world.insert("A", &n.to_string()).await;
    }
    for event in world.claim("A", 10).await {
        world.settle_one(&event, done()).await;
    }
    world.age(MINUTE).await;
    for expected in [3, 1, 0] {
        assert_eq!(world.store.delete_finished(MINUTE, 3).await.unwrap(), expected);
    }
}

async fn answers_are_deleted_after_their_own_time(world: &World) {
    for _ in 0..3 {
        world.accept().await;
    }
    world.age(2 * DAY).await;
    world.accept().await;
    for expected in [2, 1, 0] {
        assert_eq!(world.store.delete_answers(DAY, 2).await.unwrap(), expected);
    }
    assert_eq!(world.count("idempotency_keys").await, 1);
    assert_eq!(world.count("withdrawals").await, 4);
}
