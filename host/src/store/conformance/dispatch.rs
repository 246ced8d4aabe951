use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::on_both_stores;
use super::world::{BROADCAST, MINUTE, SYNC, World, done, lease, older, retry_after, settlement};
use crate::domain::{
    Decision, EventState, EventStatus, EventType, FailureCode, FailureReason, HostId, NewEvent,
    Receipt, Standing,
};
use crate::store::{CLAIM_MAX, Claim, HistoryKind, LeaseRef, Settled, Store, StoreError};

on_both_stores!(
    a_claim_leases_the_oldest_due_events_of_its_type_and_no_others,
    a_full_batch_leaves_the_next_one_for_later,
    hosts_that_claim_at_once_never_share_an_event,
    done_clears_the_lease_and_keeps_what_was_said,
    retry_defer_and_postpone_count_apart,
    what_was_not_known_stays_so_until_a_handler_says_otherwise,
    settling_with_a_lost_lease_changes_nothing,
    of_two_verdicts_the_first_counts,
    a_lost_lease_in_a_batch_leaves_the_others_be,
    released_events_are_pending_again_and_nothing_is_counted,
    only_held_leases_are_prolonged,
    a_checkpoint_is_kept_only_under_the_lease,
    an_ordered_route_takes_one_of_an_aggregate_after_another,
    a_failed_event_holds_the_later_ones_of_its_aggregate,
    only_the_listed_types_hold,
    follow_ups_are_committed_with_the_verdict,
    a_bad_follow_up_fails_its_own_event_and_no_other,
    a_text_with_a_nul_is_no_reason_to_fail,
    broadcasted_without_a_signature_is_refused,
    a_handler_may_fail_a_withdrawal_while_nothing_is_signed,
    a_failed_broadcast_fails_its_withdrawal_and_a_failed_sync_does_not,
    a_batch_beyond_the_limit_is_refused,
);

async fn a_claim_leases_the_oldest_due_events_of_its_type_and_no_others(world: &World) {
    let first = world.insert("A_B", "1").await;
    world.age(MINUTE).await;
    let other_type = world.insert("A_BC", "1").await;
    let second = world.insert("A_B", "1").await;
    let future = "2100-01-01";
    let later = match &world.db {
        super::world::Db::Sqlite(_) => "4102444800000000".to_owned(),
        super::world::Db::Postgres(_) => format!("'{future}'"),
    };
    let scheduled = world.insert_with("A_B", "1", ", available_at", &format!(", {later}")).await;
    let claimed = world.claim("A_B", 10).await;
    assert_eq!(claimed.iter().map(|e| e.id).collect::<Vec<_>>(), [first, second]);
    let EventState::Processing(lease) = &claimed[0].state else { panic!() };
    assert_eq!((lease.locked_by.as_str(), lease.token.0), ("host-a", 1));
    assert!(lease.locked_until > claimed[0].updated_at);
    assert_eq!(claimed[0].payload, "{\"n\": 1}");
    for event in [other_type, scheduled] {
        assert_eq!(world.row(event).await.state, EventState::Pending);
    }
    assert_eq!(world.claim("A_B", 10).await, []);
    assert_eq!(world.row(first).await, claimed[0]);
}

async fn a_full_batch_leaves_the_next_one_for_later(world: &World) {
    for _ in 0..4 {
        world.insert("A", "1").await;
    }
    assert_eq!(world.claim("A", 0).await.len(), 0);
    assert_eq!(world.claim("A", 3).await.len(), 3);
    assert_eq!(world.claim("A", 3).await.len(), 1);
}

async fn hosts_that_claim_at_once_never_share_an_event(world: &World) {
    for n in 0..60 {
        world.insert("A", &n.to_string()).await;
    }
    let tasks: Vec<_> = (0..6)
        .map(|n| {
            let store = Arc::clone(&world.store);
            tokio::spawn(async move { claim_all(&*store, n).await })
        })
        .collect();
    let mut claimed = Vec::new();
    for task in tasks {
        claimed.extend(task.await.unwrap());
    }
    assert_eq!(claimed.len(), 60);
    assert_eq!(claimed.into_iter().collect::<HashSet<_>>().len(), 60);
}

async fn claim_all(store: &dyn Store, n: u32) -> Vec<crate::domain::EventId> {
    let host = HostId::from_text(format!("host-{n}"));
    let event_type: EventType = "A".parse().unwrap();
    let mut all = Vec::new();
    // Empty answers happen while others hold locks, so a few of them end it, not one.
    let mut empty = 0;
    while empty < 20 {
        let request = Claim {
            host: &host,
            event_type: &event_type,
            limit: 7,
            lease_for: MINUTE,
            ordered_among: &[],
        };
        let claimed = store.claim(request).await.unwrap();
        empty = if claimed.is_empty() { empty + 1 } else { 0 };
        all.extend(claimed.into_iter().map(|e| e.id));
    }
    all
}

async fn done_clears_the_lease_and_keeps_what_was_said(world: &World) {
    let id = world.insert("A", "1").await;
    let event = world.claim_one("A").await;
    world.settle_one(&event, retry_after(Duration::ZERO)).await;
    world.store.promote_due(10).await.unwrap();
    let event = world.claim_one("A").await;
    let receipt = Receipt { detail: Some("{\"ref\": 7}".into()), ..Receipt::default() };
    let settled = world.settle_one(&event, Decision::Done(receipt)).await;
    assert_eq!(settled, Settled::Settled);
    let row = world.row(id).await;
    assert_eq!(row.state, EventState::Done);
    assert_eq!((row.attempt_count, row.outcome_unknown), (2, false));
    assert_eq!(row.detail.as_deref(), Some("{\"ref\": 7}"));
    assert_eq!(row.release_digest.as_deref(), Some("abc"));
    assert_eq!(row.last_error.as_deref(), Some("503"));
    assert_eq!(world.count("outbox_attempts").await, 1);
}

async fn retry_defer_and_postpone_count_apart(world: &World) {
    let id = world.insert("A", "1").await;
    let decisions = [
        retry_after(Duration::ZERO),
        Decision::Defer { after: Duration::ZERO },
        Decision::Postpone {
            after: Duration::ZERO,
            reason: "shutdown".into(),
            outcome_unknown: false,
        },
        Decision::Retry { after: Duration::ZERO, reason: "time-out".into(), outcome_unknown: true },
        Decision::Fail(FailureReason { code: FailureCode::Rejected, text: "no".into() }),
    ];
    for decision in decisions {
        let event = world.claim_one("A").await;
        assert_eq!(world.settle_one(&event, decision).await, Settled::Settled);
        world.store.promote_due(10).await.unwrap();
    }
    let history = world.store.event(id).await.unwrap().unwrap();
    let row = &history.event;
    assert_eq!((row.attempt_count, row.deferral_count, row.interruption_count), (3, 1, 0));
    assert!(matches!(row.state, EventState::Failed { .. }));
    assert_eq!(row.last_error.as_deref(), Some("no"));
    let kinds: Vec<_> = history.entries.iter().map(|e| (e.kind, e.reason.as_str())).collect();
    assert_eq!(
        kinds,
        [
            (HistoryKind::Retry, "503"),
            (HistoryKind::Defer, "not ready for 0 ms"),
            (HistoryKind::Interrupted, "shutdown"),
            (HistoryKind::Unknown, "time-out"),
            (HistoryKind::Failed, "no"),
        ]
    );
    assert_eq!(history.entries[0].plugin.as_deref(), Some("a-plugin"));
    assert!(history.entries[0].ended_at > history.entries[0].started_at);
}

async fn what_was_not_known_stays_so_until_a_handler_says_otherwise(world: &World) {
    let id = world.insert("A", "1").await;
    let unknown =
        Decision::Retry { after: Duration::ZERO, reason: "x".into(), outcome_unknown: true };
    let postponed = Decision::Postpone {
        after: Duration::ZERO,
        reason: "breaker".into(),
        outcome_unknown: false,
    };
    let steps = [(unknown, true), (postponed, true), (retry_after(Duration::ZERO), false)];
    for (decision, expected) in steps {
        let event = world.claim_one("A").await;
        world.settle_one(&event, decision).await;
        assert_eq!(world.row(id).await.outcome_unknown, expected);
        world.store.promote_due(10).await.unwrap();
    }
}

async fn settling_with_a_lost_lease_changes_nothing(world: &World) {
    let id = world.insert("A", "1").await;
    let lost = world.claim_one("A").await;
    world.age(2 * MINUTE).await;
    assert_eq!(world.store.take_over_lost_leases(10).await.unwrap(), 1);
    world.store.promote_due(10).await.unwrap();
    let held = world.claim_one("A").await;
    let before = world.row(id).await;
    let decisions = [
        done(),
        retry_after(MINUTE),
        Decision::Fail(FailureReason { code: FailureCode::Rejected, text: "no".into() }),
    ];
    for decision in decisions {
        assert_eq!(world.settle_one(&lost, decision).await, Settled::LeaseLost);
        assert_eq!(world.row(id).await, before);
    }
    assert_eq!(world.count("outbox_attempts").await, 1);
    assert!(lease(&held).token > lease(&lost).token);
    assert_eq!(world.settle_one(&held, done()).await, Settled::Settled);
}

async fn of_two_verdicts_the_first_counts(world: &World) {
    world.insert("A", "1").await;
    let event = world.claim_one("A").await;
    let both = vec![settlement(&event, done()), settlement(&event, retry_after(MINUTE))];
    let settled = world.store.settle(both).await.unwrap();
    assert_eq!(settled, [Settled::Settled, Settled::LeaseLost]);
    assert_eq!(world.row(event.id).await.state, EventState::Done);
    assert_eq!(world.settle_one(&event, retry_after(MINUTE)).await, Settled::LeaseLost);
    assert_eq!(world.count("outbox_attempts").await, 0);
}

async fn a_lost_lease_in_a_batch_leaves_the_others_be(world: &World) {
    let withdrawal = world.accept().await;
    world.insert("A", "1").await;
    let broadcast = world.claim_one(BROADCAST).await;
    let plain = world.claim_one("A").await;
    let failed = Decision::Done(Receipt {
        standing: Some(Standing::Failed { reason: "no".into() }),
        ..Receipt::default()
    });
    let mut lost = settlement(&broadcast, failed);
    lost.lease = older(lost.lease);
    let batch = vec![lost, settlement(&plain, retry_after(MINUTE)), settlement(&broadcast, done())];
    let settled = world.store.settle(batch).await.unwrap();
    assert_eq!(settled, [Settled::LeaseLost, Settled::Settled, Settled::Settled]);
    assert_eq!(world.status(withdrawal.id).await, "REQUESTED");
    assert_eq!(world.row(broadcast.id).await.state, EventState::Done);
    assert_eq!(world.row(plain.id).await.state.status(), EventStatus::Retrying);
}

async fn released_events_are_pending_again_and_nothing_is_counted(world: &World) {
    world.insert("A", "1").await;
    let event = world.claim_one("A").await;
    world.store.release(&[older(lease(&event))]).await.unwrap();
    assert_eq!(world.row(event.id).await, event);
    world.store.release(&[lease(&event)]).await.unwrap();
    let row = world.row(event.id).await;
    assert_eq!(row.state, EventState::Pending);
    assert_eq!((row.attempt_count, row.interruption_count), (0, 0));
    assert_eq!(world.count("outbox_attempts").await, 0);
    assert_eq!(world.settle_one(&event, done()).await, Settled::LeaseLost);
    assert_eq!(lease(&world.claim_one("A").await).token.0, 2);
}

async fn only_held_leases_are_prolonged(world: &World) {
    world.insert("A", "1").await;
    world.insert("A", "2").await;
    let events = world.claim("A", 2).await;
    let leases = [lease(&events[0]), older(lease(&events[1]))];
    let extended = world.store.extend(&leases, 10 * MINUTE).await.unwrap();
    assert_eq!(extended, [events[0].id]);
    world.age(5 * MINUTE).await;
    assert_eq!(world.store.take_over_lost_leases(10).await.unwrap(), 1);
    assert_eq!(world.row(events[0].id).await.state.status(), EventStatus::Processing);
}

async fn a_checkpoint_is_kept_only_under_the_lease(world: &World) {
    world.insert("A", "1").await;
    let event = world.claim_one("A").await;
    let held = lease(&event);
    assert_eq!(world.store.load_checkpoint(event.id).await.unwrap(), None);
    assert!(!world.store.save_checkpoint(older(held), b"x").await.unwrap());
    assert!(world.store.save_checkpoint(held, b"one").await.unwrap());
    assert!(world.store.save_checkpoint(held, b"two").await.unwrap());
    world.settle_one(&event, retry_after(MINUTE)).await;
    assert!(!world.store.save_checkpoint(held, b"three").await.unwrap());
    let kept = world.store.load_checkpoint(event.id).await.unwrap();
    assert_eq!(kept.as_deref(), Some(&b"two"[..]));
}

fn rejected() -> EventState {
    EventState::Failed { code: FailureCode::Rejected, skipped_at: None }
}

fn types(names: &[&str]) -> Vec<EventType> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

async fn an_ordered_route_takes_one_of_an_aggregate_after_another(world: &World) {
    let among = types(&["A"]);
    let mut expected = Vec::new();
    for _ in 0..3 {
        expected.push(world.insert("A", "1").await);
    }
    let other = world.insert("A", "2").await;
    let first = world.claim_ordered("A", 10, &among).await;
    assert_eq!(first.iter().map(|e| e.id).collect::<HashSet<_>>(), [expected[0], other].into());
    assert_eq!(world.claim_ordered("A", 10, &among).await, []);
    let first = first.into_iter().find(|e| e.id == expected[0]).unwrap();
    world.settle_one(&first, retry_after(Duration::ZERO)).await;
    assert_eq!(world.claim_ordered("A", 10, &among).await, []);
    world.store.promote_due(10).await.unwrap();
    for id in expected {
        let claimed = world.claim_ordered("A", 10, &among).await;
        assert_eq!(claimed.iter().map(|e| e.id).collect::<Vec<_>>(), [id]);
        world.settle_one(&claimed[0], done()).await;
    }
}

async fn a_failed_event_holds_the_later_ones_of_its_aggregate(world: &World) {
    let among = types(&["A"]);
    let first = world.insert("A", "1").await;
    let second = world.insert("A", "1").await;
    let claimed = world.claim_ordered("A", 10, &among).await;
    let no = FailureReason { code: FailureCode::Rejected, text: "no".into() };
    world.settle_one(&claimed[0], Decision::Fail(no)).await;
    assert_eq!(world.claim_ordered("A", 10, &among).await, []);
    world.store.replay(first, "me").await.unwrap();
    let claimed = world.claim_ordered("A", 10, &among).await;
    assert_eq!(claimed.iter().map(|e| e.id).collect::<Vec<_>>(), [first]);
    world.settle_one(&claimed[0], done()).await;
    assert_eq!(world.claim_ordered("A", 10, &among).await[0].id, second);
}

async fn only_the_listed_types_hold(world: &World) {
    world.insert("A", "1").await;
    let b = world.insert("B", "1").await;
    assert_eq!(world.claim_ordered("B", 10, &types(&["A", "B"])).await, []);
    assert_eq!(world.claim_ordered("B", 10, &types(&["B"])).await[0].id, b);
}

async fn follow_ups_are_committed_with_the_verdict(world: &World) {
    world.insert("A", "1").await;
    let event = world.claim_one("A").await;
    let follow_up =
        NewEvent::due_now(event.aggregate.clone(), "B".parse().unwrap(), "{\"m\": 2}".into());
    let receipt = Receipt { follow_ups: vec![follow_up.clone()], ..Receipt::default() };
    let mut wakeups = world.store.wakeups();
    wakeups.mark_unchanged();
    let lost = LeaseRef { ..older(lease(&event)) };
    let mut late = settlement(&event, Decision::Done(receipt.clone()));
    late.lease = lost;
    assert_eq!(world.store.settle(vec![late]).await.unwrap(), [Settled::LeaseLost]);
    assert_eq!(world.count("outbox_events").await, 1);
    world.settle_one(&event, Decision::Done(receipt)).await;
    assert!(wakeups.has_changed().unwrap());
    let written = world.claim_one("B").await;
    assert_eq!((written.id, written.payload.as_str()), (follow_up.id, "{\"m\": 2}"));
}

async fn a_bad_follow_up_fails_its_own_event_and_no_other(world: &World) {
    world.insert("A", "1").await;
    world.insert("A", "2").await;
    let events = world.claim("A", 2).await;
    let bad = NewEvent::due_now(events[0].aggregate.clone(), "B".parse().unwrap(), "{".into());
    let receipt = Receipt { follow_ups: vec![bad], ..Receipt::default() };
    let batch =
        vec![settlement(&events[0], Decision::Done(receipt)), settlement(&events[1], done())];
    let settled = world.store.settle(batch).await.unwrap();
    assert!(matches!(settled[0], Settled::TransitionRefused(_)));
    assert_eq!(settled[1], Settled::Settled);
    let row = world.row(events[0].id).await;
    assert_eq!((row.state, row.outcome_unknown), (rejected(), true));
}

async fn a_text_with_a_nul_is_no_reason_to_fail(world: &World) {
    world.insert("A", "1").await;
    let event = world.claim_one("A").await;
    let decision = Decision::Retry { after: MINUTE, reason: "a\0b".into(), outcome_unknown: false };
    assert_eq!(world.settle_one(&event, decision).await, Settled::Settled);
    assert_eq!(world.row(event.id).await.last_error.as_deref(), Some("a\u{fffd}b"));
}

fn standing(standing: Standing) -> Decision {
    Decision::Done(Receipt { standing: Some(standing), ..Receipt::default() })
}

async fn broadcasted_without_a_signature_is_refused(world: &World) {
    let withdrawal = world.accept().await;
    let event = world.claim_one(BROADCAST).await;
    let settled = world.settle_one(&event, standing(Standing::Broadcasted)).await;
    let Settled::TransitionRefused(reason) = settled else { panic!("{settled:?}") };
    assert_eq!(reason.code, FailureCode::Rejected);
    let row = world.row(event.id).await;
    assert_eq!((row.state, row.last_error), (rejected(), Some(reason.text)));
    assert_eq!(world.status(withdrawal.id).await, "REQUESTED");
}

async fn a_handler_may_fail_a_withdrawal_while_nothing_is_signed(world: &World) {
    let withdrawal = world.accept().await;
    let event = world.claim_one(BROADCAST).await;
    let failed = standing(Standing::Failed { reason: "closed".into() });
    assert_eq!(world.settle_one(&event, failed).await, Settled::Settled);
    let timeline = world.store.timeline(withdrawal.id).await.unwrap().unwrap();
    assert_eq!(timeline.withdrawal.state.failure_reason(), Some("closed"));
    let steps: Vec<_> = timeline.transitions.iter().map(|t| t.to.as_str()).collect();
    assert_eq!(steps, ["REQUESTED", "FAILED"]);
    assert_eq!(
        world.events_of(withdrawal.id).await[3..],
        ["WITHDRAWAL_FAILED PENDING", "PARTNER_SYNC_REQUESTED PENDING"]
    );
    assert_eq!(timeline.events[3].event.traceparent.as_deref(), Some("00-ab-cd-01"));
}

async fn a_failed_broadcast_fails_its_withdrawal_and_a_failed_sync_does_not(world: &World) {
    let withdrawal = world.accept().await;
    let no = || {
        Decision::Fail(FailureReason { code: FailureCode::Rejected, text: "unknown asset".into() })
    };
    let sync = world.claim_one(SYNC).await;
    world.settle_one(&sync, no()).await;
    assert_eq!(world.status(withdrawal.id).await, "REQUESTED");
    let broadcast = world.claim_one(BROADCAST).await;
    let mut lost = settlement(&broadcast, no());
    lost.lease = older(lost.lease);
    assert_eq!(world.store.settle(vec![lost]).await.unwrap(), [Settled::LeaseLost]);
    assert_eq!(world.status(withdrawal.id).await, "REQUESTED");
    world.settle_one(&broadcast, no()).await;
    let failed = world.store.withdrawal(withdrawal.id).await.unwrap().unwrap();
    assert_eq!(failed.state.failure_reason(), Some("rejected: unknown asset"));
    assert_eq!(world.events_of(withdrawal.id).await.len(), 5);
}

async fn a_batch_beyond_the_limit_is_refused(world: &World) {
    world.insert("A", "1").await;
    let event = world.claim_one("A").await;
    let batch = (0..=CLAIM_MAX).map(|_| settlement(&event, done())).collect();
    assert!(matches!(world.store.settle(batch).await, Err(StoreError::Conflict { .. })));
    assert_eq!(world.store.settle(vec![]).await.unwrap(), []);
}
