//! One key, one withdrawal: however often, in whatever form and however close together it is sent.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::Semaphore;

use super::*;

fn count(host: &Host) -> usize {
    host.store.rows.lock().unwrap().withdrawals.len()
}

#[tokio::test]
async fn the_same_request_gets_the_first_answer_again() {
    let host = host();
    let first = host.submit("\"k\"", &a_body()).await;
    assert_eq!(first.status, 201);
    assert_eq!(first.header("idempotency-replayed"), "");

    let other_order = r#"  {"destination_address":"0x52908400098527886E0F7030069857D2E4169EE7",
        "amount":"\u0031.5", "network":"eip155:1", "asset":"ETH", "user_id":"user-1"} "#;
    for request in [
        submission("\"k\"", a_body().to_string()),
        submission("k", a_body().to_string()),
        submission("\"k\"", other_order),
    ] {
        let again = host.send(request).await;
        assert_eq!(again.status, 201);
        assert_eq!(again.header("idempotency-replayed"), "true");
        assert_eq!(again.text, first.text);
        assert_eq!(again.header("location"), first.header("location"));
        assert_eq!(again.header("content-type"), "application/json");
    }
    assert_eq!(count(&host), 1);
}

#[tokio::test]
async fn a_key_of_another_request_is_refused() {
    let host = host();
    host.submit("\"k\"", &a_body()).await;
    let mut other = a_body();
    other["amount"] = json!("1.50");
    let mut invalid = a_body();
    invalid["amount"] = json!("0");
    for body in [other, invalid] {
        let reply = host.submit("\"k\"", &body).await;
        assert_eq!(reply.status, 422);
        assert_eq!(reply.json()["type"], "/problems/idempotency-key-reused");
    }
    assert_eq!(count(&host), 1);
}

#[tokio::test]
async fn keys_of_two_callers_never_meet() {
    let host = host();
    host.submit("\"k\"", &a_body()).await;
    let mut request = submission("\"k\"", a_body().to_string());
    request.headers_mut().insert("authorization", "Bearer submit".parse().unwrap());
    let reply = host.send(request).await;
    assert_eq!(reply.status, 201);
    assert_eq!(reply.header("idempotency-replayed"), "");
    assert_eq!(count(&host), 2);
}

#[tokio::test]
async fn a_refused_request_leaves_its_key_free() {
    let host = host();
    let mut wrong = a_body();
    wrong["amount"] = json!("0");
    assert_eq!(host.submit("\"k\"", &wrong).await.status, 422);
    assert_eq!(host.submit("\"k\"", &a_body()).await.status, 201);
}

#[tokio::test]
async fn an_earlier_answer_is_given_again_even_if_the_judge_has_changed_its_mind() {
    let host = host();
    let first = host.submit("\"k\"", &a_body()).await;
    for verdict in [
        JudgeError::Rejected { field: "asset", reason: "is not known any more".into() },
        JudgeError::Unavailable("no plugin".into()),
    ] {
        *host.judge.verdict.lock().unwrap() = Some(verdict);
        let again = host.submit("\"k\"", &a_body()).await;
        assert_eq!((again.status, &again.text), (first.status, &first.text));
        assert_eq!(again.header("idempotency-replayed"), "true");
    }
}

#[tokio::test]
async fn a_second_request_while_the_first_is_in_flight_is_told_to_wait() {
    let host = Arc::new(host());
    let gate = Arc::new(Semaphore::new(0));
    *host.judge.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let first = {
        let host = Arc::clone(&host);
        tokio::spawn(async move { host.submit("\"k\"", &a_body()).await })
    };
    tokio::task::yield_now().await;

    let second = host.submit("\"k\"", &a_body()).await;
    assert_eq!(second.status, 409);
    assert_eq!(second.header("retry-after"), "1");
    assert_eq!(second.json()["type"], "/problems/idempotency-key-in-flight");

    gate.add_permits(2);
    assert_eq!(first.await.unwrap().status, 201);
    assert_eq!(host.submit("\"k\"", &a_body()).await.header("idempotency-replayed"), "true");
    assert_eq!(count(&host), 1);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_its_key_free() {
    let host = Arc::new(host());
    *host.judge.gate.lock().unwrap() = Some(Arc::new(Semaphore::new(0)));
    let gone = {
        let host = Arc::clone(&host);
        tokio::spawn(async move { host.submit("\"k\"", &a_body()).await })
    };
    tokio::task::yield_now().await;
    gone.abort();
    assert!(gone.await.is_err());

    *host.judge.gate.lock().unwrap() = None;
    assert_eq!(host.submit("\"k\"", &a_body()).await.status, 201);
}

#[tokio::test]
async fn a_panic_is_answered_and_leaves_its_key_free() {
    let host = host();
    host.judge.panics.store(true, Ordering::SeqCst);
    let reply = host.submit("\"k\"", &a_body()).await;
    assert_eq!(reply.status, 500);
    assert_eq!(reply.json()["type"], "/problems/internal-error");
    host.judge.panics.store(false, Ordering::SeqCst);
    assert_eq!(host.submit("\"k\"", &a_body()).await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_requests_with_one_key_at_one_moment_make_one_withdrawal() {
    let host = Arc::new(host());
    let sent: Vec<_> = (0..200)
        .map(|i| {
            let host = Arc::clone(&host);
            tokio::spawn(async move { host.submit(&format!("\"{}\"", i % 20), &a_body()).await })
        })
        .collect();
    let mut fresh = 0;
    for reply in sent {
        let reply = reply.await.unwrap();
        match reply.status.as_u16() {
            201 if reply.header("idempotency-replayed").is_empty() => fresh += 1,
            201 | 409 => {}
            other => panic!("{other}: {}", reply.text),
        }
    }
    assert_eq!(fresh, 20);
    assert_eq!(count(&host), 20);
}
