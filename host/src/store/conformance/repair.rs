use super::on_both_stores;
use super::world::{BROADCAST, World, done, lease};
use crate::domain::{
    Decision, EventId, EventState, EventStatus, EventType, FailureCode, FailureReason,
};
use crate::store::{Cancelled, HistoryKind, Replayed, Skipped};

on_both_stores!(
    a_skipped_event_stays_failed_and_holds_nobody,
    a_replay_of_a_skipped_event_clears_the_mark,
    only_a_failed_event_is_skipped,
    an_event_that_has_not_begun_is_cancelled,
    an_event_that_was_ever_claimed_is_not_cancelled,
    a_withdrawals_event_is_not_cancelled,
    what_holds_an_event_is_what_the_claim_goes_by,
    of_a_claim_and_a_cancel_at_once_one_wins,
);

fn among() -> Vec<EventType> {
    vec!["A".parse().unwrap()]
}

fn no() -> Decision {
    Decision::Fail(FailureReason { code: FailureCode::Rejected, text: "no".into() })
}

async fn ids(world: &World) -> Vec<EventId> {
    world.claim_ordered("A", 10, &among()).await.iter().map(|e| e.id).collect()
}

async fn a_skipped_event_stays_failed_and_holds_nobody(world: &World) {
    let first = world.insert("A", "1").await;
    let second = world.insert("A", "1").await;
    let event = world.claim_ordered("A", 10, &among()).await.remove(0);
    world.settle_one(&event, no()).await;
    assert_eq!(ids(world).await, []);
    let before = world.row(first).await;
    let mut wakeups = world.store.wakeups();
    wakeups.mark_unchanged();
    assert_eq!(world.store.skip(first, "me: order gone\0").await.unwrap(), Skipped::Now);
    assert!(wakeups.has_changed().unwrap());
    let history = world.store.event(first).await.unwrap().unwrap();
    let row = history.event;
    let EventState::Failed { code, skipped_at: Some(skipped_at) } = row.state else {
        panic!("{row:?}")
    };
    assert_eq!((code, row.last_error), (FailureCode::Rejected, before.last_error));
    assert_eq!(skipped_at, row.updated_at);
    let last = history.entries.last().unwrap();
    let told = (last.kind, last.attempt, last.reason.as_str());
    assert_eq!(told, (HistoryKind::Skipped, 0, "me: order gone\u{fffd}"));
    // A repeat tells nothing new.
    assert_eq!(world.store.skip(first, "me").await.unwrap(), Skipped::Already);
    assert_eq!(world.store.event(first).await.unwrap().unwrap().entries, history.entries);
    assert_eq!(ids(world).await, [second]);
    assert_eq!(world.claim("A", 10).await, [], "never attempted again");
}

async fn a_replay_of_a_skipped_event_clears_the_mark(world: &World) {
    let first = world.insert("A", "1").await;
    let second = world.insert("A", "1").await;
    let event = world.claim_ordered("A", 10, &among()).await.remove(0);
    world.settle_one(&event, no()).await;
    world.store.skip(first, "me").await.unwrap();
    assert_eq!(world.store.replay(first, "me").await.unwrap(), Replayed::Pending);
    assert_eq!(world.row(first).await.state, EventState::Pending);
    assert_eq!(ids(world).await, [first]);
    assert_eq!(world.store.held_by(second, &among()).await.unwrap(), Some(first));
}

async fn only_a_failed_event_is_skipped(world: &World) {
    let id = world.insert("A", "1").await;
    let not_failed = |status| Skipped::NotFailed(status);
    let before = world.row(id).await;
    assert_eq!(world.store.skip(id, "me").await.unwrap(), not_failed(EventStatus::Pending));
    assert_eq!(world.row(id).await, before);
    let event = world.claim_one("A").await;
    assert_eq!(world.store.skip(id, "me").await.unwrap(), not_failed(EventStatus::Processing));
    world.settle_one(&event, done()).await;
    assert_eq!(world.store.skip(id, "me").await.unwrap(), not_failed(EventStatus::Done));
    assert_eq!(world.store.skip(EventId::generate(), "me").await.unwrap(), Skipped::NotFound);
    assert_eq!(world.count("outbox_attempts").await, 0);
}

async fn an_event_that_has_not_begun_is_cancelled(world: &World) {
    let first = world.insert("A", "1").await;
    let second = world.insert("A", "1").await;
    assert_eq!(world.store.cancel(first, "me: a mistake").await.unwrap(), Cancelled::Now);
    assert_eq!(world.store.cancel(first, "me").await.unwrap(), Cancelled::Already);
    let history = world.store.event(first).await.unwrap().unwrap();
    let row = history.event;
    let cancelled = |state: &EventState| {
        matches!(state, EventState::Failed { code: FailureCode::Cancelled, skipped_at: Some(_) })
    };
    assert!(cancelled(&row.state), "{row:?}");
    assert_eq!((row.attempt_count, row.last_error.as_deref()), (0, Some("me: a mistake")));
    assert_eq!(history.entries.len(), 1);
    assert_eq!(history.entries[0].kind, HistoryKind::Cancelled);
    assert_eq!(ids(world).await, [second], "it holds nobody");
    // Whoever changes their mind replays it.
    assert_eq!(world.store.replay(first, "me").await.unwrap(), Replayed::Pending);
    assert_eq!(world.claim_one("A").await.id, first);
}

async fn an_event_that_was_ever_claimed_is_not_cancelled(world: &World) {
    let id = world.insert("A", "1").await;
    let event = world.claim_one("A").await;
    let begun = |status| Cancelled::Begun(status);
    assert_eq!(world.store.cancel(id, "me").await.unwrap(), begun(EventStatus::Processing));
    assert_eq!(world.row(id).await, event);
    // Given back: a host that stopped may have called the handler all the same.
    world.store.release(&[lease(&event)]).await.unwrap();
    assert_eq!(world.store.cancel(id, "me").await.unwrap(), begun(EventStatus::Pending));
    let event = world.claim_one("A").await;
    world.settle_one(&event, no()).await;
    assert_eq!(world.store.cancel(id, "me").await.unwrap(), begun(EventStatus::Failed));
    assert_eq!(world.store.cancel(EventId::generate(), "me").await.unwrap(), Cancelled::NotFound);
}

async fn a_withdrawals_event_is_not_cancelled(world: &World) {
    let withdrawal = world.accept().await;
    let timeline = world.store.timeline(withdrawal.id).await.unwrap().unwrap();
    for event in &timeline.events {
        let cancelled = world.store.cancel(event.event.id, "me").await.unwrap();
        assert_eq!(cancelled, Cancelled::OfWithdrawal);
    }
    assert_eq!(world.status(withdrawal.id).await, "REQUESTED");
    assert_eq!(world.claim(BROADCAST, 10).await.len(), 1);
}

async fn what_holds_an_event_is_what_the_claim_goes_by(world: &World) {
    let first = world.insert("A", "1").await;
    let second = world.insert("A", "1").await;
    let third = world.insert("A", "1").await;
    let other = world.insert("A", "2").await;
    let unordered = world.insert("B", "1").await;
    let held_by = async |id| world.store.held_by(id, &among()).await.unwrap();
    assert_eq!(held_by(first).await, None);
    assert_eq!(held_by(second).await, Some(first));
    assert_eq!(held_by(third).await, Some(second));
    assert_eq!((held_by(other).await, held_by(unordered).await), (None, None));
    assert_eq!(held_by(EventId::generate()).await, None);
    let claimed = world.claim_ordered("A", 10, &among()).await;
    assert_eq!(held_by(first).await, None, "it is PROCESSING");
    for event in &claimed {
        world.settle_one(event, done()).await;
    }
    assert_eq!(held_by(second).await, None);
}

async fn of_a_claim_and_a_cancel_at_once_one_wins(world: &World) {
    for n in 0..30 {
        let id = world.insert("A", &n.to_string()).await;
        let (claimed, cancelled) = tokio::join!(world.claim("A", 10), world.store.cancel(id, "me"));
        let cancelled = cancelled.unwrap() == Cancelled::Now;
        assert_ne!(claimed.len() == 1, cancelled);
        for event in &claimed {
            world.settle_one(event, done()).await;
        }
    }
}
