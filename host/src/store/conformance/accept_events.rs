use std::sync::Arc;

use uuid::Uuid;

use super::on_both_stores;
use super::world::World;
use crate::domain::{Aggregate, NewEvent};
use crate::store::{AcceptEvents, Accepted, AcceptedEvents, Answer, IdempotencyClaim, StoreError};

on_both_stores!(
    events_are_written_as_they_are_asked_for_and_in_their_order,
    a_repeat_of_events_is_answered_as_before_and_writes_nothing,
    an_event_key_that_is_taken_refuses_the_whole_batch_and_leaves_its_request_free,
    a_batch_with_a_bad_event_leaves_nothing,
    of_many_batches_at_once_with_one_key_one_is_written,
    a_thousand_events_are_one_request,
    accepting_events_wakes_the_dispatcher,
);

fn event(aggregate_id: &str, payload: &str) -> NewEvent {
    let aggregate = Aggregate::new("ORDER", aggregate_id).unwrap();
    NewEvent::due_now(aggregate, "A".parse().unwrap(), payload.into())
}

fn request(key: &str, events: Vec<NewEvent>) -> AcceptEvents {
    AcceptEvents {
        events,
        idempotency: IdempotencyClaim {
            scope: "caller".into(),
            key: key.into(),
            fingerprint: "f1".into(),
        },
        answer: Answer { status: 201, location: "/v1/events".into(), body: "{}".into() },
    }
}

const CREATED: AcceptedEvents = AcceptedEvents::As(Accepted::Created);

async fn events_are_written_as_they_are_asked_for_and_in_their_order(world: &World) {
    let hour = chrono::TimeDelta::hours(1);
    let now = super::world::now();
    let later = NewEvent {
        available_at: Some(now + hour),
        valid_until: Some(now + hour * 2),
        idempotency_key: Uuid::now_v7(),
        traceparent: Some("00-ab-cd-01".into()),
        ..event("1", r#"{"n": 1.000000000000000000001}"#)
    };
    let asked = vec![later, event("1", "null"), event("it's", "[\"\\u0000\"]")];
    let accepted = world.store.accept_events(request("k", asked.clone())).await.unwrap();
    assert_eq!(accepted, CREATED);
    for asked in &asked {
        let row = world.row(asked.id).await;
        assert_eq!((&row.aggregate, &row.payload), (&asked.aggregate, &asked.payload));
        assert_eq!(row.idempotency_key, asked.idempotency_key);
        assert_eq!(
            (row.valid_until, row.traceparent),
            (asked.valid_until, asked.traceparent.clone())
        );
        assert_eq!(row.available_at, asked.available_at.unwrap_or(row.created_at));
    }
    let order = world.texts("SELECT CAST(id AS text) FROM outbox_events ORDER BY position").await;
    assert_eq!(order, asked.iter().map(|e| e.id.to_string()).collect::<Vec<_>>());
    assert_eq!(world.claim("A", 10).await.len(), 2, "the scheduled one is not due");
}

async fn a_repeat_of_events_is_answered_as_before_and_writes_nothing(world: &World) {
    let first = request("k", vec![event("1", "1")]);
    assert_eq!(world.store.accept_events(first.clone()).await.unwrap(), CREATED);
    // The same events' keys are taken too, and yet it is a repeat.
    let replayed = Accepted::Replayed(first.answer.clone());
    let again = world.store.accept_events(first.clone()).await.unwrap();
    assert_eq!(again, AcceptedEvents::As(replayed.clone()));
    assert_eq!(world.store.find_answer(&first.idempotency).await.unwrap(), Some(replayed));
    let mut other = request("k", vec![event("2", "2")]);
    other.idempotency.fingerprint = "f2".into();
    let reused = world.store.accept_events(other).await.unwrap();
    assert_eq!(reused, AcceptedEvents::As(Accepted::KeyReused));
    assert_eq!(world.count("outbox_events").await, 1);
}

async fn an_event_key_that_is_taken_refuses_the_whole_batch_and_leaves_its_request_free(
    world: &World,
) {
    let taken = event("1", "1");
    world.store.accept_events(request("a", vec![taken.clone()])).await.unwrap();
    let key = taken.idempotency_key;
    let again = NewEvent { idempotency_key: key, ..event("2", "2") };
    let batch = request("b", vec![event("3", "3"), again]);
    let refused = world.store.accept_events(batch.clone()).await.unwrap();
    assert_eq!(refused, AcceptedEvents::EventKeysTaken(vec![key]));
    assert_eq!(world.store.find_answer(&batch.idempotency).await.unwrap(), None);
    let counts = (world.count("outbox_events").await, world.count("idempotency_keys").await);
    assert_eq!(counts, (1, 1));
}

async fn a_batch_with_a_bad_event_leaves_nothing(world: &World) {
    let batch = request("k", vec![event("1", "1"), event("2", "{no json")]);
    let refused = world.store.accept_events(batch).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    let counts = (world.count("outbox_events").await, world.count("idempotency_keys").await);
    assert_eq!(counts, (0, 0));
}

async fn of_many_batches_at_once_with_one_key_one_is_written(world: &World) {
    let tasks: Vec<_> = (0..30)
        .map(|_| {
            let store = Arc::clone(&world.store);
            let batch = request("k", vec![event("1", "1"), event("2", "2")]);
            tokio::spawn(async move { store.accept_events(batch).await.unwrap() })
        })
        .collect();
    let mut created = 0;
    for task in tasks {
        created += usize::from(task.await.unwrap() == CREATED);
    }
    assert_eq!((created, world.count("outbox_events").await), (1, 2));
}

async fn a_thousand_events_are_one_request(world: &World) {
    let events = (0..1_000).map(|n| event(&n.to_string(), &"7".repeat(4_000))).collect();
    assert_eq!(world.store.accept_events(request("k", events)).await.unwrap(), CREATED);
    assert_eq!(world.count("outbox_events").await, 1_000);
}

async fn accepting_events_wakes_the_dispatcher(world: &World) {
    let mut wakeups = world.store.wakeups();
    wakeups.mark_unchanged();
    world.store.accept_events(request("k", vec![event("1", "1")])).await.unwrap();
    let wait = std::time::Duration::from_secs(5);
    tokio::time::timeout(wait, wakeups.changed()).await.unwrap().unwrap();
}
