use std::sync::Arc;

use super::on_both_stores;
use super::world::{World, acceptance};
use crate::store::{AcceptWithdrawal, Accepted, IdempotencyClaim, StoreError};

on_both_stores!(
    accepting_writes_the_withdrawal_its_events_and_its_key_together,
    a_repeat_is_answered_as_before_and_writes_nothing,
    a_key_used_for_another_request_is_refused,
    keys_of_two_callers_never_meet,
    of_many_at_once_with_one_key_one_is_accepted,
    a_request_that_breaks_a_constraint_leaves_nothing_and_harms_no_neighbour,
    a_caller_that_goes_away_leaves_all_or_nothing,
    accepting_wakes_the_dispatcher,
);

async fn accepting_writes_the_withdrawal_its_events_and_its_key_together(world: &World) {
    let request = acceptance("k");
    let accepted = world.store.accept_withdrawal(request.clone()).await.unwrap();
    assert_eq!(accepted, Accepted::Created);
    let timeline = world.store.timeline(request.withdrawal.id).await.unwrap().unwrap();
    assert_eq!(timeline.withdrawal, request.withdrawal);
    let written: Vec<_> = timeline.events.iter().map(|e| &e.event).collect();
    assert_eq!(written.len(), request.events.len());
    for (written, asked) in written.iter().zip(&request.events) {
        assert_eq!(
            (written.id, &written.aggregate, &written.event_type, &written.payload),
            (asked.id, &asked.aggregate, &asked.event_type, &asked.payload)
        );
        assert_eq!(written.traceparent.as_deref(), Some("00-ab-cd-01"));
        assert_eq!(written.idempotency_key, asked.idempotency_key);
    }
}

async fn a_repeat_is_answered_as_before_and_writes_nothing(world: &World) {
    let first = acceptance("k");
    let second = AcceptWithdrawal { idempotency: first.idempotency.clone(), ..acceptance("x") };
    assert_eq!(world.store.find_answer(&first.idempotency).await.unwrap(), None);
    world.store.accept_withdrawal(first.clone()).await.unwrap();
    let replayed = Accepted::Replayed(first.answer.clone());
    assert_eq!(world.store.accept_withdrawal(second.clone()).await.unwrap(), replayed);
    assert_eq!(world.store.find_answer(&first.idempotency).await.unwrap(), Some(replayed));
    assert_eq!(world.store.withdrawal(second.withdrawal.id).await.unwrap(), None);
    assert_eq!(world.count("outbox_events").await, 3);
}

async fn a_key_used_for_another_request_is_refused(world: &World) {
    let first = acceptance("k");
    world.store.accept_withdrawal(first.clone()).await.unwrap();
    let claim = IdempotencyClaim { fingerprint: "f2".into(), ..first.idempotency };
    let other = AcceptWithdrawal { idempotency: claim.clone(), ..acceptance("k") };
    assert_eq!(world.store.accept_withdrawal(other).await.unwrap(), Accepted::KeyReused);
    assert_eq!(world.store.find_answer(&claim).await.unwrap(), Some(Accepted::KeyReused));
    assert_eq!(world.count("withdrawals").await, 1);
}

async fn keys_of_two_callers_never_meet(world: &World) {
    let mine = acceptance("k");
    let claim = IdempotencyClaim { scope: "another".into(), ..mine.idempotency.clone() };
    let theirs = AcceptWithdrawal { idempotency: claim, ..acceptance("k") };
    for request in [mine, theirs] {
        let accepted = world.store.accept_withdrawal(request).await.unwrap();
        assert_eq!(accepted, Accepted::Created);
    }
}

async fn of_many_at_once_with_one_key_one_is_accepted(world: &World) {
    let tasks: Vec<_> = (0..40)
        .map(|_| {
            let store = Arc::clone(&world.store);
            tokio::spawn(async move { store.accept_withdrawal(acceptance("k")).await.unwrap() })
        })
        .collect();
    let mut created = 0;
    let mut answers = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Accepted::Created => created += 1,
            Accepted::Replayed(answer) => answers.push(answer.body),
            Accepted::KeyReused => panic!("the same request"),
        }
    }
    answers.dedup();
    assert_eq!((created, answers.len()), (1, 1));
    assert_eq!((world.count("withdrawals").await, world.count("outbox_events").await), (1, 3));
}

/// On SQLite they share a commit, and each has a savepoint of its own.
async fn a_request_that_breaks_a_constraint_leaves_nothing_and_harms_no_neighbour(world: &World) {
    let tasks: Vec<_> = (0..30)
        .map(|n| {
            let store = Arc::clone(&world.store);
            tokio::spawn(async move {
                let mut request = acceptance(&format!("k{n}"));
                if n % 3 == 0 {
                    request.events[2].payload = "{no json".into();
                }
                store.accept_withdrawal(request).await
            })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        match task.await.unwrap() {
            Ok(accepted) => assert!(n % 3 != 0 && accepted == Accepted::Created),
            Err(StoreError::Conflict { .. }) => assert_eq!(n % 3, 0),
            Err(other) => panic!("{other}"),
        }
    }
    let counts = (
        world.count("withdrawals").await,
        world.count("outbox_events").await,
        world.count("idempotency_keys").await,
    );
    assert_eq!(counts, (20, 60, 20));
}

async fn a_caller_that_goes_away_leaves_all_or_nothing(world: &World) {
    for n in 0..30_u64 {
        let store = Arc::clone(&world.store);
        let request = acceptance(&format!("k{n}"));
        let task = tokio::spawn(async move { store.accept_withdrawal(request).await });
        tokio::time::sleep(std::time::Duration::from_micros(n * 40)).await;
        task.abort();
    }
    // What comes after still works.
    world.accept().await;
    // In one statement: what nobody waits for any more may still be written meanwhile.
    let of_nothing = "SELECT CAST((SELECT count(*) FROM outbox_events) \
                      - 3 * (SELECT count(*) FROM withdrawals) AS text)";
    assert_eq!(world.texts(of_nothing).await, ["0"]);
}

async fn accepting_wakes_the_dispatcher(world: &World) {
    let mut wakeups = world.store.wakeups();
    wakeups.mark_unchanged();
    world.accept().await;
    tokio::time::timeout(std::time::Duration::from_secs(5), wakeups.changed())
        .await
        .unwrap()
        .unwrap();
}
