use uuid::Uuid;

use super::on_both_stores;
use super::world::{BROADCAST, MINUTE, SYNC, World, acceptance, done, retry_after};
use crate::domain::{
    Decision, EventId, EventState, EventStatus, FailureCode, FailureReason, WithdrawalStatus,
};
use crate::store::{
    AcceptWithdrawal, EventFilter, HistoryKind, Page, Replayed, StoreError, WithdrawalFilter,
};

on_both_stores!(
    only_a_failed_event_is_replayed_and_it_starts_anew,
    the_timeline_is_in_the_order_of_what_happened,
    lists_are_newest_first_and_come_in_pages,
    withdrawals_are_filtered_by_everything_that_is_asked,
    events_are_filtered_by_everything_that_is_asked,
    what_is_not_there_is_none,
    a_closed_store_is_unavailable,
    an_impossible_row_is_named,
);

const ALL: Page = Page { before: None, limit: 100 };

fn no() -> Decision {
    Decision::Fail(FailureReason { code: FailureCode::AttemptsExhausted, text: "no".into() })
}

async fn only_a_failed_event_is_replayed_and_it_starts_anew(world: &World) {
    let id = world.insert("A", "1").await;
    let event = world.claim_one("A").await;
    let not_failed = Replayed::NotFailed(EventStatus::Processing);
    assert_eq!(world.store.replay(id, "me").await.unwrap(), not_failed);
    assert_eq!(world.row(id).await, event);
    world.settle_one(&event, no()).await;
    let mut wakeups = world.store.wakeups();
    wakeups.mark_unchanged();
    assert_eq!(world.store.replay(id, "me").await.unwrap(), Replayed::Pending);
    assert!(wakeups.has_changed().unwrap());
    let history = world.store.event(id).await.unwrap().unwrap();
    let row = history.event;
    assert_eq!((row.state, row.attempt_count, row.deferral_count), (EventState::Pending, 0, 0));
    // The last attempt may have happened.
    assert!(row.outcome_unknown);
    let last = history.entries.last().unwrap();
    assert_eq!((last.kind, last.reason.as_str()), (HistoryKind::Replayed, "me"));
    let pending = Replayed::NotFailed(EventStatus::Pending);
    assert_eq!(world.store.replay(id, "me").await.unwrap(), pending);
    let nobody = EventId::generate();
    assert_eq!(world.store.replay(nobody, "me").await.unwrap(), Replayed::NotFound);
}

async fn the_timeline_is_in_the_order_of_what_happened(world: &World) {
    let withdrawal = world.accept().await;
    world.accept().await;
    let sync = world.claim(SYNC, 1).await.remove(0);
    world.settle_one(&sync, retry_after(MINUTE)).await;
    let broadcast = world.claim(BROADCAST, 1).await.remove(0);
    world.settle_one(&broadcast, no()).await;
    let timeline = world.store.timeline(withdrawal.id).await.unwrap().unwrap();
    assert_eq!(
        world.events_of(withdrawal.id).await,
        [
            "WITHDRAWAL_REQUESTED PENDING",
            "PARTNER_SYNC_REQUESTED RETRYING",
            "BLOCKCHAIN_BROADCAST_REQUESTED FAILED",
            "WITHDRAWAL_FAILED PENDING",
            "PARTNER_SYNC_REQUESTED PENDING",
        ]
    );
    let entries = |n: usize| timeline.events[n].entries.iter().map(|e| e.kind).collect::<Vec<_>>();
    assert_eq!(entries(1), [HistoryKind::Retry]);
    assert_eq!(entries(2), [HistoryKind::Failed]);
    assert_eq!(timeline.transitions[1].to, WithdrawalStatus::Failed);
    assert_eq!(timeline.transitions[1].reason.as_deref(), Some("attempts exhausted: no"));
}

async fn lists_are_newest_first_and_come_in_pages(world: &World) {
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.push(world.accept().await.id);
    }
    expected.sort_unstable();
    expected.reverse();
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = Page { before, limit: 2 };
        let list = world.store.withdrawals(&WithdrawalFilter::default(), page).await.unwrap();
        seen.extend(list.iter().map(|w| w.id));
        let Some(last) = list.last() else { break };
        before = Some(last.id.as_uuid());
    }
    assert_eq!(seen, expected);
    let events = world.store.events(&EventFilter::default(), ALL).await.unwrap();
    let ids: Vec<Uuid> = events.iter().map(|e| e.id.as_uuid()).collect();
    assert_eq!(ids.len(), 15);
    assert!(ids.is_sorted_by(|a, b| a > b));
    let rest = Page { before: Some(ids[9]), limit: 100 };
    let events = world.store.events(&EventFilter::default(), rest).await.unwrap();
    assert_eq!(events.len(), 5);
}

async fn withdrawals_are_filtered_by_everything_that_is_asked(world: &World) {
    let mine = world.accept().await;
    let mut other = acceptance("k");
    other.withdrawal.request.user_id = "user-2".into();
    other.withdrawal.request.network = "eip155:137".parse().unwrap();
    other.withdrawal.requested_at = mine.requested_at + chrono::TimeDelta::seconds(9);
    let AcceptWithdrawal { withdrawal: theirs, .. } = other.clone();
    world.store.accept_withdrawal(other).await.unwrap();
    let all = WithdrawalFilter::default;
    let filters = [
        (WithdrawalFilter { user_id: Some("user-2".into()), ..all() }, vec![theirs.id]),
        (WithdrawalFilter { network: Some("eip155:1".parse().unwrap()), ..all() }, vec![mine.id]),
        (WithdrawalFilter { since: Some(theirs.requested_at), ..all() }, vec![theirs.id]),
        (WithdrawalFilter { until: Some(theirs.requested_at), ..all() }, vec![mine.id]),
        (WithdrawalFilter { status: Some(WithdrawalStatus::Failed), ..all() }, vec![]),
        (
            WithdrawalFilter { status: Some(WithdrawalStatus::Requested), ..all() },
            vec![theirs.id, mine.id],
        ),
        (
            WithdrawalFilter {
                user_id: Some("user-2".into()),
                network: Some("eip155:1".parse().unwrap()),
                ..all()
            },
            vec![],
        ),
    ];
    for (filter, expected) in filters {
        let found = world.store.withdrawals(&filter, ALL).await.unwrap();
        assert_eq!(found.iter().map(|w| w.id).collect::<Vec<_>>(), expected, "{filter:?}");
    }
}

async fn events_are_filtered_by_everything_that_is_asked(world: &World) {
    let a = world.insert("A", "1").await;
    let b = world.insert("B", "it's").await;
    let event = world.claim_one("A").await;
    world.settle_one(&event, done()).await;
    let created = world.row(b).await.created_at;
    let all = EventFilter::default;
    let filters = [
        (EventFilter { status: Some(EventStatus::Done), ..all() }, vec![a]),
        (EventFilter { event_type: Some("B".parse().unwrap()), ..all() }, vec![b]),
        (EventFilter { aggregate_type: Some("ORDER".into()), ..all() }, vec![b, a]),
        (EventFilter { aggregate_id: Some("it's".into()), ..all() }, vec![b]),
        (EventFilter { until: Some(created - chrono::TimeDelta::hours(1)), ..all() }, vec![]),
        (
            EventFilter { since: Some(created), event_type: Some("B".parse().unwrap()), ..all() },
            vec![b],
        ),
    ];
    for (filter, expected) in filters {
        let found = world.store.events(&filter, ALL).await.unwrap();
        assert_eq!(found.iter().map(|e| e.id).collect::<Vec<_>>(), expected, "{filter:?}");
    }
}

async fn what_is_not_there_is_none(world: &World) {
    let nobody = acceptance("x").withdrawal.id;
    assert_eq!(world.store.withdrawal(nobody).await.unwrap(), None);
    assert_eq!(world.store.timeline(nobody).await.unwrap(), None);
    assert_eq!(world.store.payment(nobody).await.unwrap(), None);
    assert_eq!(world.store.event(EventId::generate()).await.unwrap(), None);
    world.store.ping().await.unwrap();
}

async fn a_closed_store_is_unavailable(world: &World) {
    world.store.close().await;
    world.store.close().await;
    let unavailable = |error| matches!(error, StoreError::Unavailable { .. });
    assert!(unavailable(world.store.ping().await.unwrap_err()));
    assert!(unavailable(world.store.promote_due(1).await.unwrap_err()));
    assert!(unavailable(world.store.accept_withdrawal(acceptance("k")).await.unwrap_err()));
}

async fn an_impossible_row_is_named(world: &World) {
    let withdrawal = world.accept().await;
    world.execute("UPDATE withdrawals SET network = 'nowhere'").await.unwrap();
    let error = world.store.withdrawal(withdrawal.id).await.unwrap_err();
    let StoreError::CorruptRow { table, row, what } = error else { panic!("{error}") };
    assert_eq!(table, "withdrawals");
    assert!(row.contains(&withdrawal.id.to_string()), "{row}");
    assert!(what.contains("network"), "{what}");
}
