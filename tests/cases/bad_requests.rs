//! Every way to ask wrongly that we could think of, sent to the running binary; and afterwards
//! nothing is there.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tidegate_tests::api::{Api, send};
use tidegate_tests::host::Host;
use tidegate_tests::machine;
use tidegate_tests::order::{Order, PAYEE};

type Fields = &'static [&'static str];

struct Case {
    what: &'static str,
    request: RequestBuilder,
    status: u16,
    fields: Fields,
}

/// Makes the cases for one host.
struct Asking<'a>(&'a Api);

impl Asking<'_> {
    /// Bytes as the body of a submission that is otherwise good.
    fn raw(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.0
            .request(Method::POST, "/v1/withdrawals")
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", "\"k\"")
            .body(body)
    }

    /// A good submission with these fields replaced; null takes one away.
    fn with(&self, changes: &Value) -> RequestBuilder {
        let mut body = Order { destination: PAYEE.into(), ..Order::number(1) }.body();
        for (field, value) in changes.as_object().expect("changes are an object") {
            match value {
                Value::Null => drop(body.as_object_mut().expect("a body").remove(field)),
                value => body[field] = value.clone(),
            }
        }
        self.raw(body.to_string())
    }

    /// The same request with other headers than it should have.
    fn headers(&self, headers: &[(&'static str, &'static str)]) -> RequestBuilder {
        let body = Order::number(1).body().to_string();
        let mut request = self.0.request(Method::POST, "/v1/withdrawals").body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.0.request(Method::GET, path)
    }

    fn method(&self, method: &str, path: &str) -> RequestBuilder {
        self.0.request(method.parse().expect("a method"), path)
    }

    /// A GET by somebody else.
    fn stranger(&self, authorization: Option<&str>) -> RequestBuilder {
        let url = format!("{}/v1/withdrawals", self.0.url());
        let request = tidegate_tests::api::http_client().get(url);
        match authorization {
            Some(text) => request.header("Authorization", text),
            None => request,
        }
    }
}

fn case(what: &'static str, request: RequestBuilder, status: u16, fields: Fields) -> Case {
    Case { what, request, status, fields }
}

fn fields(ask: &Asking<'_>) -> Vec<Case> {
    let wrong = |what, changes: Value, fields| case(what, ask.with(&changes), 422, fields);
    let all: Fields = &["user_id", "asset", "network", "amount", "destination_address"];
    vec![
        case("no fields", ask.raw("{}"), 422, all),
        case("an array", ask.raw("[]"), 422, &["$"]),
        case("null", ask.raw("null"), 422, &["$"]),
        wrong("no user", json!({"user_id": null}), &["user_id"]),
        wrong("empty user", json!({"user_id": ""}), &["user_id"]),
        wrong("user a number", json!({"user_id": 1}), &["user_id"]),
        wrong("user with a newline", json!({"user_id": "a\nb"}), &["user_id"]),
        wrong("user too long", json!({"user_id": "u".repeat(129)}), &["user_id"]),
        wrong("asset empty", json!({"asset": ""}), &["asset"]),
        wrong("asset with a space", json!({"asset": "E TH"}), &["asset"]),
        wrong("no network", json!({"network": null}), &["network"]),
        wrong("network a word", json!({"network": "ethereum"}), &["network"]),
        wrong("network a pattern", json!({"network": "eip155:*"}), &["network"]),
        wrong("no amount", json!({"amount": null}), &["amount"]),
        wrong("amount a number", json!({"amount": 1.5}), &["amount"]),
        wrong("amount empty", json!({"amount": ""}), &["amount"]),
        wrong("amount zero", json!({"amount": "0.00"}), &["amount"]),
        wrong("amount negative", json!({"amount": "-1"}), &["amount"]),
        wrong("amount with exponent", json!({"amount": "1e3"}), &["amount"]),
        wrong("amount with comma", json!({"amount": "1,5"}), &["amount"]),
        wrong("amount NaN", json!({"amount": "NaN"}), &["amount"]),
        wrong("amount endless", json!({"amount": "9".repeat(79)}), &["amount"]),
        wrong("no destination", json!({"destination_address": null}), &["destination_address"]),
        wrong("destination a number", json!({"destination_address": 1}), &["destination_address"]),
        wrong("unknown field", json!({"memo": "hello"}), &["memo"]),
        wrong("field in other case", json!({"Amount": "1"}), &["Amount"]),
        wrong(
            "four at once",
            json!({"user_id": "", "amount": 1, "network": "x", "x": 1}),
            &["user_id", "network", "amount", "x"],
        ),
    ]
}

/// What only the network and its plugin can say.
fn judged(ask: &Asking<'_>) -> Vec<Case> {
    let wrong = |what, changes: Value, fields| case(what, ask.with(&changes), 422, fields);
    let to = |address: &str| json!({"destination_address": address});
    let destination: Fields = &["destination_address"];
    let bad_checksum = PAYEE.replace("EE7", "eE7");
    vec![
        wrong("other network", json!({"network": "eip155:1"}), &["network"]),
        wrong("other family", json!({"network": "solana:mainnet"}), &["network"]),
        wrong("unknown asset", json!({"asset": "DOGE"}), &["asset"]),
        wrong("asset in other case", json!({"asset": "eth"}), &["asset"]),
        wrong("too many places", json!({"amount": "0.0000000000000000001"}), &["amount"]),
        wrong("too many of USDC", json!({"asset": "USDC", "amount": "0.0000001"}), &["amount"]),
        wrong("more than a word holds", json!({"amount": "9".repeat(78)}), &["amount"]),
        wrong("bad checksum", to(&bad_checksum), destination),
        wrong("zero address", to(&format!("0x{}", "0".repeat(40))), destination),
        wrong("address too short", to("0x1234"), destination),
        wrong("address without 0x", to(&PAYEE[2..]), destination),
        wrong("address with a foreign digit", to(&PAYEE.replace("EE7", "EEG")), destination),
        wrong("an address of Bitcoin", to("1BoatSLRHtKNngkdXEeobR76b53LETtpyT"), destination),
        wrong("a name", to("vitalik.eth"), destination),
    ]
}

fn bodies(ask: &Asking<'_>) -> Vec<Case> {
    let (json, key) = (("Content-Type", "application/json"), ("Idempotency-Key", "\"k\""));
    vec![
        case("no body", ask.raw(""), 400, &[]),
        case("cut body", ask.raw("{\"user_id\": \"u"), 400, &[]),
        case("trailing comma", ask.raw("{\"user_id\": \"u\",}"), 400, &[]),
        case("two values", ask.raw("{} {}"), 400, &[]),
        case("byte order mark", ask.raw("\u{feff}{}"), 400, &[]),
        case("bad UTF-8", ask.raw(b"{\"user_id\": \"\xff\"}".to_vec()), 400, &[]),
        case("deep nesting", ask.raw("[".repeat(50_000)), 400, &[]),
        case("too large", ask.raw(format!("\"{}\"", "x".repeat(64 * 1024))), 413, &[]),
        case("no content type", ask.headers(&[key]), 415, &[]),
        case(
            "a form",
            ask.headers(&[key, ("Content-Type", "application/x-www-form-urlencoded")]),
            415,
            &[],
        ),
        case("compressed", ask.headers(&[json, key, ("Content-Encoding", "gzip")]), 415, &[]),
        case("no key", ask.headers(&[json]), 400, &["Idempotency-Key"]),
        case(
            "empty key",
            ask.headers(&[json, ("Idempotency-Key", "\"\"")]),
            400,
            &["Idempotency-Key"],
        ),
        case(
            "unclosed key",
            ask.headers(&[json, ("Idempotency-Key", "\"k")]),
            400,
            &["Idempotency-Key"],
        ),
        case(
            "two keys",
            ask.headers(&[json, key, ("Idempotency-Key", "\"l\"")]),
            400,
            &["Idempotency-Key"],
        ),
    ]
}

fn callers(ask: &Asking<'_>) -> Vec<Case> {
    vec![
        case("no token", ask.stranger(None), 401, &[]),
        case("empty token", ask.stranger(Some("Bearer ")), 401, &[]),
        case("unknown token", ask.stranger(Some("Bearer tidegate_nobody")), 401, &[]),
        case("other scheme", ask.stranger(Some("Basic YWxs")), 401, &[]),
    ]
}

fn paths_and_queries(ask: &Asking<'_>) -> Vec<Case> {
    let id = "00000000-0000-7000-8000-000000000000";
    let (withdrawal, event) = (format!("/v1/withdrawals/{id}"), format!("/v1/events/{id}"));
    vec![
        case("unknown path", ask.get("/v1/nothing"), 404, &[]),
        case("trailing slash", ask.get("/v1/withdrawals/"), 404, &[]),
        case("unknown withdrawal", ask.get(&withdrawal), 404, &[]),
        case("unknown timeline", ask.get(&format!("{withdrawal}/timeline")), 404, &[]),
        case("unknown event", ask.get(&event), 404, &[]),
        case("replay of nothing", ask.method("POST", &format!("{event}/replay")), 404, &[]),
        case("no UUID", ask.get("/v1/withdrawals/1"), 404, &[]),
        case("delete", ask.method("DELETE", "/v1/withdrawals"), 405, &[]),
        case("put", ask.method("PUT", &withdrawal), 405, &[]),
        case("get a replay", ask.get(&format!("{event}/replay")), 405, &[]),
        case("odd method", ask.method("BREW", "/healthz"), 405, &[]),
        case("unknown parameter", ask.get("/v1/withdrawals?page=2"), 400, &["page"]),
        case("parameter twice", ask.get("/v1/events?limit=1&limit=2"), 400, &["limit"]),
        case("unknown status", ask.get("/v1/withdrawals?status=PENDING"), 400, &["status"]),
        case("bad network", ask.get("/v1/withdrawals?network=ethereum"), 400, &["network"]),
        case("limit 0", ask.get("/v1/withdrawals?limit=0"), 400, &["limit"]),
        case("limit 201", ask.get("/v1/events?limit=201"), 400, &["limit"]),
        case("cursor garbage", ask.get("/v1/events?cursor=abc"), 400, &["cursor"]),
        case("since a date", ask.get("/v1/events?since=2030-01-01"), 400, &["since"]),
        case("bad event type", ask.get("/v1/events?event_type=a-b"), 400, &["event_type"]),
    ]
}

#[tokio::test]
async fn every_bad_request_is_a_problem_that_names_the_fields_and_writes_nothing() {
    let _shared = machine::shared().await;
    let folder = tempfile::tempdir().unwrap();
    let host = Host::dev(folder.path()).await;
    let api = host.dev_api();
    let ask = Asking(&api);
    let cases: Vec<Case> =
        [fields(&ask), judged(&ask), bodies(&ask), callers(&ask), paths_and_queries(&ask)]
            .into_iter()
            .flatten()
            .collect();
    assert!(cases.len() >= 60, "{}", cases.len());
    for Case { what, request, status, fields } in cases {
        let reply = send(request).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(reply.status, status, "{what}: {}", reply.text);
        assert_eq!(reply.header("content-type"), "application/problem+json", "{what}");
        assert_eq!(reply.json()["status"], status, "{what}: {}", reply.text);
        assert_eq!(reply.fields(), fields, "{what}: {}", reply.text);
    }

    for path in ["/v1/withdrawals", "/v1/events"] {
        assert_eq!(api.get(path).await["items"], json!([]), "{path}");
    }
    assert!(host.targets().partner.records().await.is_empty());
    assert!(host.targets().node.transfers().await.is_empty());
    assert!(host.targets().broker.messages().await.is_empty());
    // None of them took the key.
    let order = Order { key: "k".into(), ..Order::number(1) };
    assert_eq!(api.post(&order).await.unwrap().header("idempotency-replayed"), "");
}
