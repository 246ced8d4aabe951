//! The body of each kind of problem, to the letter: callers match on them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::*;

fn body(slug: &str, title: &str, status: u16, detail: &str) -> Value {
    json!({
        "type": format!("/problems/{slug}"),
        "title": title,
        "status": status,
        "detail": detail,
    })
}

fn with_error(mut body: Value, field: &str, detail: &str, code: &str) -> Value {
    body["errors"] = json!([{"field": field, "detail": detail, "code": code}]);
    body
}

#[tokio::test]
async fn problems_of_the_body() {
    let host = host();
    let reply = host.send(submission("\"k\"", "{\n\"amount\" 1}")).await;
    let title = "The body is not valid JSON";
    assert_eq!(reply.json(), body("invalid-json", title, 400, "Line 2, column 10: expected `:`."));

    let reply = host.send(submission("\"k\"", "x".repeat(65_537))).await;
    let title = "The body is too large";
    assert_eq!(reply.json(), body("body-too-large", title, 413, "A body has at most 65536 bytes."));

    let mut plain = submission("\"k\"", "{}");
    plain.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    let title = "The content type is not supported";
    let detail = "Send the body as `Content-Type: application/json`, in UTF-8.";
    assert_eq!(host.send(plain).await.json(), body("unsupported-media-type", title, 415, detail));

    let never = futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
    let reply = host.send(submission("\"k\"", Body::from_stream(never))).await;
    let title = "The request did not arrive in time";
    let detail = "The body stopped arriving. Send the request again.";
    assert_eq!(reply.json(), body("request-timeout", title, 408, detail));
}

#[tokio::test]
async fn problems_of_fields_and_parameters() {
    let host = host();
    let mut wrong = a_body();
    wrong["amount"] = json!(1.5);
    let title = "The request has fields that are not valid";
    let expected = with_error(
        body("invalid-fields", title, 422, "Correct amount and send the request again."),
        "amount",
        "must be a string such as \"1.5\": a JSON number may lose digits",
        "wrong_type",
    );
    assert_eq!(host.submit("\"k\"", &wrong).await.json(), expected);

    let title = "The query has parameters that are not valid";
    let expected = with_error(
        body("invalid-query", title, 400, "Correct page and send the request again."),
        "page",
        "is unknown; the parameters are: status, user_id, network, since, until, limit, cursor",
        "unknown",
    );
    assert_eq!(host.get("/v1/withdrawals?page=1").await.json(), expected);
}

#[tokio::test]
async fn problems_of_the_idempotency_key() {
    let host = host();
    let mut missing = submission("\"k\"", a_body().to_string());
    missing.headers_mut().remove("idempotency-key");
    let detail = "Send the header `Idempotency-Key: \"…\"` with a text of your own that is new for \
                  each request, such as a UUID, and the same when you send it again.";
    let title = "The Idempotency-Key header is missing";
    let expected = with_error(
        body("idempotency-key-missing", title, 400, detail),
        "Idempotency-Key",
        "is missing",
        "required",
    );
    assert_eq!(host.send(missing).await.json(), expected);

    let title = "The Idempotency-Key header is not valid";
    let detail = "Correct Idempotency-Key and send the request again.";
    let expected = with_error(
        body("idempotency-key-invalid", title, 400, detail),
        "Idempotency-Key",
        "needs 1 to 255 visible ASCII characters, in double quotes",
        "invalid",
    );
    assert_eq!(host.submit("\"\"", &a_body()).await.json(), expected);

    host.submit("\"k\"", &a_body()).await;
    let mut other = a_body();
    other["amount"] = json!("2");
    let title = "The idempotency key was used for another request";
    let detail = "Send a new withdrawal with a new key, or the first one's body unchanged.";
    assert_eq!(
        host.submit("\"k\"", &other).await.json(),
        body("idempotency-key-reused", title, 422, detail)
    );
}

#[tokio::test]
async fn problems_of_the_caller() {
    let host = host();
    let mut nobody = request("GET", "/v1/events", "");
    nobody.headers_mut().insert("authorization", "Bearer nobody".parse().unwrap());
    let reply = host.send(nobody).await;
    let title = "A valid token is needed";
    let detail = "Send the header `Authorization: Bearer <token>` with a token of this host.";
    assert_eq!(reply.json(), body("unauthenticated", title, 401, detail));
    let challenge = r#"Bearer realm="tidegate", error="invalid_token""#;
    assert_eq!(reply.header("www-authenticate"), challenge);

    let mut submit = request("GET", "/v1/events", "");
    submit.headers_mut().insert("authorization", "Bearer submit".parse().unwrap());
    let reply = host.send(submit).await;
    let title = "The token does not allow this";
    let detail = "It needs the role read; the token \"submit\" lacks it.";
    assert_eq!(reply.json(), body("forbidden", title, 403, detail));
    let challenge = r#"Bearer realm="tidegate", error="insufficient_scope""#;
    assert_eq!(reply.header("www-authenticate"), challenge);
}

#[tokio::test]
async fn problems_of_the_path() {
    let host = host();
    let title = "There is nothing here";
    let detail = "There is no such path; /openapi.json lists what there is.";
    assert_eq!(host.get("/v2").await.json(), body("not-found", title, 404, detail));
    let reply = host.get("/v1/withdrawals/7").await;
    assert_eq!(reply.json(), body("not-found", title, 404, "No withdrawal has this id."));
    let reply = host.get("/v1/events/7").await;
    assert_eq!(reply.json(), body("not-found", title, 404, "No event has this id."));

    let title = "The method is not allowed here";
    let detail = "The header Allow lists the methods of this path.";
    let reply = host.send(request("DELETE", "/v1/events", "")).await;
    assert_eq!(reply.json(), body("method-not-allowed", title, 405, detail));
    assert_eq!(reply.header("allow"), "POST,GET,HEAD");
}

#[tokio::test]
async fn problems_of_the_host() {
    let host = host();
    let unavailable = "The host cannot do this now";
    *host.judge.verdict.lock().unwrap() = Some(JudgeError::Unavailable("hunter2".into()));
    let reply = host.submit("\"k\"", &a_body()).await;
    let detail = "The network cannot judge withdrawals now, so nothing was written. Send the same \
                  request again later.";
    assert_eq!(reply.json(), body("unavailable", unavailable, 503, detail));
    assert_eq!(reply.header("retry-after"), "5");

    host.store.unavailable.store(true, Ordering::SeqCst);
    let reply = host.get("/v1/withdrawals").await;
    let detail = "The store cannot be reached. Send the same request again later; with the same \
                  Idempotency-Key nothing is done twice.";
    assert_eq!(reply.json(), body("unavailable", unavailable, 503, detail));
    assert_eq!(reply.header("retry-after"), "5");

    host.store.unavailable.store(false, Ordering::SeqCst);
    host.store.corrupt.store(true, Ordering::SeqCst);
    let reply = host.get("/v1/withdrawals").await;
    let title = "Something is wrong inside the host";
    let detail = "The host's log says what went wrong.";
    assert_eq!(reply.json(), body("internal-error", title, 500, detail));
}

#[tokio::test]
async fn a_host_with_its_hands_full_says_so_and_still_shows_that_it_lives() {
    let host = Arc::new(host_with(Limits { requests_max: 1, ..Limits::default() }));
    let gate = Arc::new(Semaphore::new(0));
    *host.judge.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let first = {
        let host = Arc::clone(&host);
        tokio::spawn(async move { host.submit("\"k\"", &a_body()).await })
    };
    tokio::task::yield_now().await;
    let reply = host.get("/v1/withdrawals").await;
    let title = "The host has too much in hand";
    let detail = "Send the same request again a little later.";
    assert_eq!(reply.json(), body("overloaded", title, 503, detail));
    assert_eq!(reply.header("retry-after"), "1");
    assert_eq!(host.get("/healthz").await.status, 200);
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().status, 201);
    assert_eq!(host.get("/v1/withdrawals").await.status, 200);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered() {
    let limits = Limits { request_timeout: Duration::from_millis(20), ..Limits::default() };
    let host = host_with(limits);
    host.store.hangs.store(true, Ordering::SeqCst);
    let reply = host.get("/v1/withdrawals").await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.json()["type"], "/problems/unavailable");
}
