//! Withdrawals: handed in, found again, listed, told as a story.

use chrono::TimeDelta;

use super::*;
use crate::domain::{
    BigUint, EventState, NewSignedTransaction, SignedTransaction, TransactionKind, WithdrawalStatus,
};
use crate::store::{HistoryEntry, HistoryKind, TransitionRecord};

#[tokio::test]
async fn a_withdrawal_is_created_with_its_first_events() {
    let host = host();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut request = submission("\"k\"", a_body().to_string());
    request.headers_mut().insert("traceparent", trace.parse().unwrap());
    let reply = host.send(request).await;
    assert_eq!(reply.status, 201);

    let mut view = reply.json();
    let id = view["id"].as_str().unwrap().to_owned();
    let at = view["requested_at"].as_str().unwrap().to_owned();
    assert_eq!(reply.header("location"), format!("/v1/withdrawals/{id}"));
    assert_eq!(reply.header("cache-control"), "no-store");
    let expected = json!({
        "id": id, "user_id": "user-1", "asset": "ETH", "network": "eip155:1", "amount": "1.5",
        "destination_address": "0x52908400098527886E0F7030069857D2E4169EE7",
        "status": "REQUESTED", "tx_hash": null, "failure_reason": null, "requested_at": at,
        "broadcasted_at": null, "confirmed_at": null, "created_at": at, "updated_at": at,
        "waiting_for": null,
    });
    assert_eq!(view.take(), expected);
    assert_eq!(host.get(reply.header("location")).await.json(), expected);

    let events = host.get("/v1/events").await.json();
    let types: Vec<_> = events["items"].as_array().unwrap().iter().collect();
    assert_eq!(types.len(), 3);
    for event in types {
        assert_eq!(event["traceparent"], trace);
        assert_eq!(event["aggregate_id"], id);
        assert_eq!(event["payload"]["withdrawal_id"], id);
    }
}

#[tokio::test]
async fn a_trace_that_is_not_valid_is_replaced() {
    let host = host();
    let mut request = submission("\"k\"", a_body().to_string());
    request.headers_mut().insert("traceparent", "00-nonsense".parse().unwrap());
    assert_eq!(host.send(request).await.status, 201);
    let rows = host.store.rows.lock().unwrap();
    let trace = rows.events[0].event.traceparent.clone().unwrap();
    assert_eq!((trace.len(), &trace[..3]), (55, "00-"));
}

#[tokio::test]
async fn what_the_judge_rejects_is_named_and_not_written() {
    let host = host();
    let reason = "the checksum is wrong".to_owned();
    let rejected = JudgeError::Rejected { field: "destination_address", reason };
    *host.judge.verdict.lock().unwrap() = Some(rejected);
    let reply = host.submit("\"k\"", &a_body()).await;
    assert_eq!(reply.status, 422);
    assert_eq!(
        reply.json()["errors"],
        json!([{
            "field": "destination_address",
            "detail": "the checksum is wrong",
            "code": "rejected",
        }])
    );
    assert!(host.store.is_empty());
}

#[tokio::test]
async fn a_list_is_walked_from_page_to_page() {
    let host = host();
    let mut ids = Vec::new();
    for i in 0..5 {
        let reply = host.submit(&format!("\"{i}\""), &a_body()).await;
        ids.push(reply.json()["id"].as_str().unwrap().to_owned());
    }
    let mut seen = Vec::new();
    let mut path = "/v1/withdrawals?limit=2".to_owned();
    let mut pages = 0;
    loop {
        let page = host.get(&path).await.json();
        pages += 1;
        let items = page["items"].as_array().unwrap().clone();
        seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/withdrawals?limit=2&cursor={cursor}");
    }
    ids.sort();
    ids.reverse();
    assert_eq!((seen, pages), (ids, 3));
}

#[tokio::test]
async fn a_list_is_filtered() {
    let host = host();
    host.submit("\"1\"", &a_body()).await;
    let mut other = a_body();
    other["user_id"] = json!("user +2");
    other["network"] = json!("eip155:10");
    host.submit("\"2\"", &other).await;
    for (query, count) in [
        ("", 2),
        ("?status=REQUESTED", 2),
        ("?status=FAILED", 0),
        ("?user_id=user+%2B2", 1),
        ("?network=eip155:1", 1),
        ("?network=eip155:1&user_id=user+%2B2", 0),
        ("?since=2020-01-01T00:00:00Z", 2),
        ("?until=2020-01-01T00:00:00%2B01:00", 0),
    ] {
        let page = host.get(&format!("/v1/withdrawals{query}")).await.json();
        assert_eq!(page["items"].as_array().map(Vec::len), Some(count), "{query}");
    }
}

#[tokio::test]
async fn a_timeline_tells_everything_in_the_order_of_time() {
    let host = host();
    let id = host.submit("\"k\"", &a_body()).await.json()["id"].as_str().unwrap().to_owned();
    {
        let mut rows = host.store.rows.lock().unwrap();
        let start = rows.withdrawals[0].requested_at;
        let after = |seconds| start + TimeDelta::seconds(seconds);
        rows.events[1].entries.push(HistoryEntry {
            kind: HistoryKind::Retry,
            attempt: 1,
            reason: "the partner answered 503".into(),
            plugin: Some("partner-sync".into()),
            release_digest: Some("aa".into()),
            started_at: after(1),
            ended_at: after(2),
        });
        rows.events[2].event.state = EventState::Done;
        rows.events[2].event.updated_at = after(4);
        rows.events[2].event.detail = Some(r#"{"wei":12345678901234567890123}"#.into());
        let withdrawal = rows.withdrawals[0].id;
        rows.transactions.push(SignedTransaction {
            withdrawal,
            chain_id: 1,
            account: "0xac".into(),
            nonce: 7,
            signed: NewSignedTransaction {
                hash: "0xaa".into(),
                kind: TransactionKind::Payment,
                raw: vec![1],
                gas_limit: 21_000,
                fee_max_per_gas: 10,
                priority_fee_max_per_gas: 1,
                native_cost_max: BigUint::from(1_u8),
                asset_units: BigUint::from(1_u8),
            },
            signed_at: after(3),
        });
        rows.transitions.push(TransitionRecord {
            from: Some(WithdrawalStatus::Requested),
            to: WithdrawalStatus::Broadcasted,
            tx_hash: Some("0xaa".into()),
            reason: None,
            evidence: Some("{}".into()),
            at: after(4),
        });
    }
    let reply = host.get(&format!("/v1/withdrawals/{id}/timeline")).await;
    let timeline = reply.json();
    let entries = timeline["entries"].as_array().unwrap();
    let kinds: Vec<_> = entries.iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    let story =
        ["transition", "event", "event", "event", "attempt", "transaction", "transition", "done"];
    assert_eq!(kinds, story);
    let times: Vec<_> = entries.iter().map(|entry| entry["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted());
    assert_eq!(entries[4]["outcome"], "retry");
    assert_eq!(entries[4]["reason"], "the partner answered 503");
    assert_eq!(entries[5]["tx_hash"], "0xaa");
    assert!(reply.text.contains("12345678901234567890123"), "no digit is lost");
    assert_eq!(timeline["withdrawal"]["id"], id);
}
