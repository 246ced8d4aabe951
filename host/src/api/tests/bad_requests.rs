//! Every way to ask wrongly that we could think of, what it is answered, and that nothing is written.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use super::*;

pub(super) struct Case {
    what: &'static str,
    request: Request<Body>,
    status: u16,
    fields: &'static [&'static str],
}

pub(super) fn case(
    what: &'static str,
    request: Request<Body>,
    status: u16,
    fields: &'static [&'static str],
) -> Case {
    Case { what, request, status, fields }
}

/// A good body with one field replaced.
fn with(field: &str, value: Value) -> Request<Body> {
    let mut body = a_body();
    body[field] = value;
    submission("\"k\"", body.to_string())
}

fn without(fields: &[&str]) -> Request<Body> {
    let mut body = a_body();
    for field in fields {
        body.as_object_mut().unwrap().remove(*field);
    }
    submission("\"k\"", body.to_string())
}

fn raw(body: impl Into<Body>) -> Request<Body> {
    submission("\"k\"", body)
}

fn header(name: &'static str, value: &[u8]) -> Request<Body> {
    let mut request = submission("\"k\"", a_body().to_string());
    request.headers_mut().insert(name, http::HeaderValue::from_bytes(value).unwrap());
    request
}

fn no_header(name: &str) -> Request<Body> {
    let mut request = submission("\"k\"", a_body().to_string());
    request.headers_mut().remove(name);
    request
}

fn get(path: &str) -> Request<Body> {
    request("GET", path, "")
}

fn fields() -> Vec<Case> {
    let all = &["user_id", "asset", "network", "amount", "destination_address"];
    let text = |length| json!("x".repeat(length));
    vec![
        case("no fields", raw("{}"), 422, all),
        case("no user", without(&["user_id"]), 422, &["user_id"]),
        case("no asset, no amount", without(&["asset", "amount"]), 422, &["asset", "amount"]),
        case("no network", without(&["network"]), 422, &["network"]),
        case("no destination", without(&["destination_address"]), 422, &["destination_address"]),
        case("user null", with("user_id", Value::Null), 422, &["user_id"]),
        case("user empty", with("user_id", json!("")), 422, &["user_id"]),
        case("user too long", with("user_id", text(129)), 422, &["user_id"]),
        case("user with NUL", with("user_id", json!("a\u{0}b")), 422, &["user_id"]),
        case("user with newline", with("user_id", json!("a\nb")), 422, &["user_id"]),
        case("user a number", with("user_id", json!(1)), 422, &["user_id"]),
        case("asset empty", with("asset", json!("")), 422, &["asset"]),
        case("asset too long", with("asset", text(33)), 422, &["asset"]),
        case("asset with a space", with("asset", json!("E TH")), 422, &["asset"]),
        case("asset not ASCII", with("asset", json!("ΕΤΗ")), 422, &["asset"]),
        case("asset an array", with("asset", json!(["ETH"])), 422, &["asset"]),
        case("network empty", with("network", json!("")), 422, &["network"]),
        case("network a word", with("network", json!("ethereum")), 422, &["network"]),
        case("network a pattern", with("network", json!("eip155:*")), 422, &["network"]),
        case("network a number", with("network", json!(1)), 422, &["network"]),
        case("amount a number", with("amount", json!(1.5)), 422, &["amount"]),
        case("amount empty", with("amount", json!("")), 422, &["amount"]),
        case("amount zero", with("amount", json!("0.00")), 422, &["amount"]),
        case("amount negative", with("amount", json!("-1")), 422, &["amount"]),
        case("amount with exponent", with("amount", json!("1e3")), 422, &["amount"]),
        case("amount with comma", with("amount", json!("1,5")), 422, &["amount"]),
        case("amount with a space", with("amount", json!(" 1")), 422, &["amount"]),
        case("amount NaN", with("amount", json!("NaN")), 422, &["amount"]),
        case("amount hexadecimal", with("amount", json!("0x10")), 422, &["amount"]),
        case("amount of 79 digits", with("amount", json!("9".repeat(79))), 422, &["amount"]),
        case("amount an object", with("amount", json!({"value": "1"})), 422, &["amount"]),
        case("amount a boolean", with("amount", json!(true)), 422, &["amount"]),
        case(
            "destination empty",
            with("destination_address", json!("")),
            422,
            &["destination_address"],
        ),
        case(
            "destination too long",
            with("destination_address", text(129)),
            422,
            &["destination_address"],
        ),
        case(
            "destination with a space",
            with("destination_address", json!("0x 1")),
            422,
            &["destination_address"],
        ),
        case(
            "destination not ASCII",
            with("destination_address", json!("0xа")),
            422,
            &["destination_address"],
        ),
        case("unknown field", with("memo", json!("hello")), 422, &["memo"]),
        case("field in other case", with("Amount", json!("1")), 422, &["Amount"]),
        case(
            "two unknown and one wrong",
            raw(r#"{"user_id":"u","asset":"ETH","network":"eip155:1","amount":1,
                   "destination_address":"0x1","x":1,"y":2}"#),
            422,
            &["amount", "x", "y"],
        ),
        case(
            "amount twice",
            raw(r#"{"user_id":"u","asset":"ETH","network":"eip155:1","amount":"1","amount":"2",
                   "destination_address":"0x1"}"#),
            422,
            &["amount"],
        ),
        case("an array", raw("[]"), 422, &["$"]),
        case("a string", raw("\"x\""), 422, &["$"]),
        case("null", raw("null"), 422, &["$"]),
    ]
}

fn bodies() -> Vec<Case> {
    let mut slow = raw(Body::from_stream(futures_util::stream::pending::<
        Result<bytes::Bytes, std::io::Error>,
    >()));
    slow.headers_mut().remove("content-length");
    let announced = header("content-length", b"999999");
    vec![
        case("no body", raw(""), 400, &[]),
        case("cut body", raw("{\"user_id\": \"u"), 400, &[]),
        case("trailing comma", raw("{\"user_id\": \"u\",}"), 400, &[]),
        case("two values", raw("{} {}"), 400, &[]),
        case("single quotes", raw("{'user_id': 'u'}"), 400, &[]),
        case("byte order mark", raw("\u{feff}{}"), 400, &[]),
        case("bad UTF-8", raw(b"{\"user_id\": \"\xff\"}".to_vec()), 400, &[]),
        case("lone surrogate", raw("{\"user_id\": \"\\ud800\"}"), 400, &[]),
        case("a number out of range", raw("{\"amount\": 1e999}"), 400, &[]),
        case("deep nesting", raw("[".repeat(50_000)), 400, &[]),
        case("too large", raw(format!("\"{}\"", "x".repeat(64 * 1024))), 413, &[]),
        case("announced too large", announced, 413, &[]),
        case("never arrives", slow, 408, &[]),
        case("no content type", no_header("content-type"), 415, &[]),
        case("form", header("content-type", b"application/x-www-form-urlencoded"), 415, &[]),
        case(
            "other charset",
            header("content-type", b"application/json; charset=utf-16"),
            415,
            &[],
        ),
        case("compressed", header("content-encoding", b"gzip"), 415, &[]),
    ]
}

fn keys() -> Vec<Case> {
    let key = "Idempotency-Key";
    let fields: &'static [&'static str] = &["Idempotency-Key"];
    let mut two = submission("\"k\"", a_body().to_string());
    two.headers_mut().append(key, "\"l\"".parse().unwrap());
    let long = format!("\"{}\"", "k".repeat(256));
    vec![
        case("no key", no_header("idempotency-key"), 400, fields),
        case("two keys", two, 400, fields),
        case("empty key", header("idempotency-key", b""), 400, fields),
        case("empty quoted key", header("idempotency-key", b"\"\""), 400, fields),
        case("unclosed key", header("idempotency-key", b"\"k"), 400, fields),
        case("key with a space", header("idempotency-key", b"\"a b\""), 400, fields),
        case("list of keys", header("idempotency-key", b"\"a\", \"b\""), 400, fields),
        case("key with parameters", header("idempotency-key", b"\"a\";p=1"), 400, fields),
        case("key not ASCII", header("idempotency-key", "\"ä\"".as_bytes()), 400, fields),
        case("long key", header("idempotency-key", long.as_bytes()), 400, fields),
    ]
}

fn callers() -> Vec<Case> {
    let as_caller = |token: &str, method: &str, path: &str| {
        let mut request = request(method, path, "");
        request.headers_mut().insert("authorization", token.parse().unwrap());
        request
    };
    let mut twice = get("/v1/withdrawals");
    twice.headers_mut().append("authorization", "Bearer read".parse().unwrap());
    let mut none = get("/v1/withdrawals");
    none.headers_mut().remove("authorization");
    let replay = "/v1/events/00000000-0000-7000-8000-000000000000/replay";
    vec![
        case("no token", none, 401, &[]),
        case("submit without token", no_header("authorization"), 401, &[]),
        case("two tokens", twice, 401, &[]),
        case("unknown token", as_caller("Bearer nobody", "GET", "/v1/events"), 401, &[]),
        case("empty token", as_caller("Bearer ", "GET", "/v1/events"), 401, &[]),
        case("other scheme", as_caller("Basic YWxs", "GET", "/v1/events"), 401, &[]),
        case("digest as token", as_caller("Bearer 0", "GET", "/v1/events"), 401, &[]),
        case("read may not submit", as_caller("Bearer read", "POST", "/v1/withdrawals"), 403, &[]),
        case("submit may not read", as_caller("Bearer submit", "GET", "/v1/withdrawals"), 403, &[]),
        case("read may not replay", as_caller("bearer read", "POST", replay), 403, &[]),
        case("operate may not read", as_caller("Bearer operate", "GET", "/v1/events"), 403, &[]),
    ]
}

fn paths_and_queries() -> Vec<Case> {
    let id = "00000000-0000-7000-8000-000000000000";
    let at = |path: &str| get(&path.replace("ID", id));
    vec![
        case("root", get("/"), 404, &[]),
        case("unknown path", get("/v1/nothing"), 404, &[]),
        case("trailing slash", get("/v1/withdrawals/"), 404, &[]),
        case("path in other case", get("/V1/withdrawals"), 404, &[]),
        case("unknown withdrawal", at("/v1/withdrawals/ID"), 404, &[]),
        case("unknown timeline", at("/v1/withdrawals/ID/timeline"), 404, &[]),
        case("unknown event", at("/v1/events/ID"), 404, &[]),
        case("replay unknown", request("POST", &format!("/v1/events/{id}/replay"), ""), 404, &[]),
        case("no UUID", get("/v1/withdrawals/1"), 404, &[]),
        case("simple UUID", get(&format!("/v1/events/{}", id.replace('-', ""))), 404, &[]),
        case("id that is no UTF-8", get("/v1/events/%ff"), 404, &[]),
        case("delete", request("DELETE", "/v1/withdrawals", ""), 405, &[]),
        case("put", request("PUT", &format!("/v1/withdrawals/{id}"), ""), 405, &[]),
        case("get a replay", get(&format!("/v1/events/{id}/replay")), 405, &[]),
        case("odd method", request("BREW", "/healthz", ""), 405, &[]),
        case("unknown parameter", get("/v1/withdrawals?page=2"), 400, &["page"]),
        case("parameter twice", get("/v1/withdrawals?limit=1&limit=2"), 400, &["limit"]),
        case("unknown status", get("/v1/withdrawals?status=PENDING"), 400, &["status"]),
        case("lower-case status", get("/v1/events?status=failed"), 400, &["status"]),
        case("bad network", get("/v1/withdrawals?network=ethereum"), 400, &["network"]),
        case("empty user", get("/v1/withdrawals?user_id="), 400, &["user_id"]),
        case("user that is no UTF-8", get("/v1/withdrawals?user_id=%ff"), 400, &["user_id"]),
        case("limit 0", get("/v1/withdrawals?limit=0"), 400, &["limit"]),
        case("limit 201", get("/v1/events?limit=201"), 400, &["limit"]),
        case("limit no number", get("/v1/events?limit=ten"), 400, &["limit"]),
        case("limit negative", get("/v1/events?limit=-1"), 400, &["limit"]),
        case("cursor garbage", get("/v1/events?cursor=abc"), 400, &["cursor"]),
        case("cursor a UUID", get(&format!("/v1/events?cursor={id}")), 400, &["cursor"]),
        case("since a date", get("/v1/events?since=2030-01-01"), 400, &["since"]),
        case("until a word", get("/v1/withdrawals?until=now"), 400, &["until"]),
        case("bad event type", get("/v1/events?event_type=a-b"), 400, &["event_type"]),
        case(
            "all at once",
            get("/v1/withdrawals?status=x&network=y&since=z&limit=0&cursor=c&q=1"),
            400,
            &["status", "network", "since", "limit", "cursor", "q"],
        ),
    ]
}

#[tokio::test]
async fn every_bad_request_is_a_problem_and_writes_nothing() {
    let host = host();
    let cases: Vec<Case> = [
        fields(),
        bodies(),
        keys(),
        callers(),
        paths_and_queries(),
        bad_events::fields(),
        bad_events::batches(),
        bad_events::decisions(),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert!(cases.len() >= 60, "{}", cases.len());
    for Case { what, request, status, fields } in cases {
        let reply = host.send(request).await;
        assert_eq!(reply.status.as_u16(), status, "{what}: {}", reply.text);
        assert_eq!(reply.header("content-type"), "application/problem+json", "{what}");
        assert_eq!(reply.json()["status"], status, "{what}");
        assert_eq!(reply.fields(), fields, "{what}: {}", reply.text);
        match status {
            401 => assert!(reply.header("www-authenticate").starts_with("Bearer"), "{what}"),
            405 => assert!(!reply.header("allow").is_empty(), "{what}"),
            _ => {}
        }
    }
    assert!(host.store.is_empty());
}
