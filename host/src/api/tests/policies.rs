//! Approvals, rejections, freezes and waits, on a real store.

use super::fake::{FakeJudge, FakeOrder};
use super::*;
use crate::domain::{ApprovalRule, AssetScope, Policies, PolicyRules, WithdrawalId, policy_rule};
use crate::store::{Backlog, Store, StoreOptions, open};

struct Real {
    store: Arc<dyn Store>,
    router: Router,
    _folder: tempfile::TempDir,
}

impl Real {
    /// A host on which two people of any name approve what is more than 1 ETH.
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("t.db").display()).parse().unwrap();
        let rule = ApprovalRule {
            scope: AssetScope { asset: "ETH".into(), network: None },
            above: "1".parse().unwrap(),
            approvals: 2,
            approvers: ["approve", "all", "submit"].map(str::to_owned).into(),
        };
        let rules = PolicyRules { approvals: vec![rule], ..PolicyRules::default() };
        let options = StoreOptions { policies: Policies::new(rules), ..StoreOptions::default() };
        let store = open(&url, options).await.unwrap();
        let nothing = Backlog { read_at: std::time::Instant::now(), types: vec![], waits: vec![] };
        let (_, backlog_seen) = tokio::sync::watch::channel(nothing);
        let routes = crate::plugin::Routes::default();
        let router = router(Api {
            accept: Arc::clone(&store) as _,
            operate: Arc::clone(&store) as _,
            control: Arc::clone(&store) as _,
            breakers: Arc::clone(&store) as _,
            backlog: Arc::clone(&store) as _,
            backlog_seen,
            registry: Arc::new(crate::plugin::Registry::new(routes)),
            metrics: Arc::new(String::new),
            repair: Arc::clone(&store) as _,
            rates: Arc::clone(&store) as _,
            releases: Arc::clone(&store) as _,
            approvals: Arc::clone(&store) as _,
            policies: Arc::clone(&store) as _,
            releases_rule: ReleaseRule::default(),
            blame: Arc::clone(&store) as _,
            ordered: Arc::new(FakeOrder),
            chains: Arc::default(),
            judge: Arc::<FakeJudge>::default(),
            tokens: tokens(),
            flow: Flow::default(),
            limits: Limits::default(),
        });
        Self { store, router, _folder: folder }
    }

    async fn send(&self, token: &str, method: &str, path: &str, body: &str) -> Reply {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("idempotency-key", format!("\"{}\"", WithdrawalId::generate()))
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Reply { status: parts.status, headers: parts.headers, text }
    }

    async fn get(&self, path: &str) -> Value {
        let reply = self.send("read", "GET", path, "").await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()
    }

    /// A withdrawal of this amount, that waits for approvals if it is above the limit.
    async fn withdrawal(&self, amount: &str) -> WithdrawalId {
        let mut body = a_body();
        body["amount"] = json!(amount);
        let reply = self.send("submit", "POST", "/v1/withdrawals", &body.to_string()).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["waiting_for"]), (201, &Value::Null));
        let id: WithdrawalId = reply.json()["id"].as_str().unwrap().parse().unwrap();
        self.store.note_wait(id, policy_rule::APPROVALS, "0 of 2").await.unwrap();
        id
    }
}

const REASON: &str = r#"{"reason":"called the customer"}"#;

#[tokio::test]
async fn a_withdrawal_is_approved_by_others_than_who_asked_and_each_counts_once() {
    let host = Real::start().await;
    let id = host.withdrawal("2").await;
    let approve = format!("/v1/withdrawals/{id}/approve");
    for token in ["read", "operate", "deploy"] {
        assert_eq!(host.send(token, "POST", &approve, REASON).await.status, 403, "{token}");
    }
    // The requester has no such role here, so with all roles it is asked for by "all".
    let own = host.send("all", "POST", "/v1/withdrawals", &a_body().to_string()).await.json();
    let own = format!("/v1/withdrawals/{}/approve", own["id"].as_str().unwrap());
    let refused = host.send("all", "POST", &own, REASON).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text.contains("who handed it in does not approve it"), "{}", refused.text);

    let first = host.send("approve", "POST", &approve, REASON).await;
    assert_eq!(first.status, 200, "{}", first.text);
    assert_eq!(
        (&first.json()["changed"], &first.json()["approval"]["approver"]),
        (&json!(true), &json!("approve"))
    );
    let again = host.send("approve", "POST", &approve, REASON).await.json();
    assert_eq!(again["changed"], false);
    assert_eq!(again["approval"], first.json()["approval"]);

    let listed = host.get("/v1/approvals").await["items"][0].take();
    assert_eq!(listed["withdrawal"]["id"], id.to_string());
    assert_eq!(listed["withdrawal"]["waiting_for"]["rule"], policy_rule::APPROVALS);
    assert_eq!((&listed["needed"], &listed["found"]), (&json!(2), &json!(1)));
    assert_eq!(listed["requested_by"], "submit");
    assert_eq!(listed["approvers"], json!(["all", "approve", "submit"]));
    assert_eq!(listed["approvals"][0], first.json()["approval"]);

    assert_eq!(host.send("all", "POST", &approve, REASON).await.json()["changed"], true);
    assert_eq!(host.get("/v1/approvals").await, json!({"items": []}), "it has them all");
    let kept = host.get(&format!("/v1/withdrawals/{id}/decisions")).await;
    assert_eq!(kept["items"], json!([]), "nobody tried to sign it");
    let by: Vec<_> = (0..2).map(|n| kept["approvals"][n]["approver"].clone()).collect();
    assert_eq!(by, ["approve", "all"]);
}

#[tokio::test]
async fn what_needs_no_approval_or_has_ended_takes_none() {
    let host = Real::start().await;
    let small = host.withdrawal("1").await;
    let reply =
        host.send("approve", "POST", &format!("/v1/withdrawals/{small}/approve"), REASON).await;
    assert_eq!(reply.status, 409);
    assert_eq!(reply.json()["type"], "/problems/withdrawal-not-approvable");
    assert_eq!(host.get("/v1/approvals").await, json!({"items": []}));
    let unknown = format!("/v1/withdrawals/{}", WithdrawalId::generate());
    for what in ["approve", "reject"] {
        let reply = host.send("approve", "POST", &format!("{unknown}/{what}"), REASON).await;
        assert_eq!(reply.status, 404);
    }
    let reply = host.send("read", "GET", &format!("{unknown}/decisions"), "").await;
    assert_eq!(reply.status, 404);
    let wordless = host.send("approve", "POST", &format!("{unknown}/approve"), "{}").await;
    assert_eq!((wordless.status.as_u16(), wordless.fields()), (422, vec!["reason".to_owned()]));
}

#[tokio::test]
async fn a_rejected_withdrawal_is_failed_at_once_with_the_reason() {
    let host = Real::start().await;
    let id = host.withdrawal("2").await;
    let path = format!("/v1/withdrawals/{id}");
    assert_eq!(host.get(&path).await["waiting_for"]["reason"], "0 of 2");
    let list = host.get("/v1/withdrawals").await;
    assert_eq!(list["items"][0]["waiting_for"]["rule"], policy_rule::APPROVALS);
    let timeline = host.get(&format!("{path}/timeline")).await;
    assert_eq!(timeline["withdrawal"]["waiting_for"]["rule"], policy_rule::APPROVALS);

    let reject = async || host.send("approve", "POST", &format!("{path}/reject"), REASON).await;
    let reply = reject().await.json();
    assert_eq!((&reply["status"], &reply["changed"]), (&json!("FAILED"), &json!(true)));
    assert_eq!(reject().await.json()["changed"], false);
    let failed = host.get(&path).await;
    assert_eq!(failed["status"], "FAILED");
    assert_eq!(failed["failure_reason"], "rejected by approve: called the customer");
    assert_eq!(failed["waiting_for"], Value::Null);
    let late = host.send("all", "POST", &format!("{path}/approve"), REASON).await;
    assert_eq!(late.status, 409, "{}", late.text);
}

#[tokio::test]
async fn things_are_frozen_once_listed_and_lifted() {
    let host = Real::start().await;
    let id = WithdrawalId::generate();
    let bodies = [
        json!({"scope": "all", "reason": "audit"}),
        json!({"scope": "user", "user_id": "user-1", "reason": "stolen phone"}),
        json!({"scope": "asset", "asset": "USDC", "network": "eip155:1", "reason": "depeg"}),
        json!({"scope": "asset", "asset": "USDC", "reason": "depeg"}),
        json!({"scope": "withdrawal", "withdrawal_id": id.to_string(), "reason": "odd"}),
    ];
    for body in &bodies {
        let set = async || host.send("operate", "POST", "/v1/freezes", &body.to_string()).await;
        let reply = set().await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["changed"]),
            (200, &json!(true)),
            "{body}"
        );
        for (key, value) in body.as_object().unwrap() {
            assert_eq!(reply.json()["freeze"][key], *value);
        }
        assert_eq!(set().await.json()["changed"], false);
    }
    let listed = host.get("/v1/freezes").await;
    assert_eq!(listed["items"].as_array().unwrap().len(), bodies.len());
    let first = listed["items"][0]["id"].as_i64().unwrap();
    let lift = async |id: &str| {
        host.send("operate", "POST", &format!("/v1/freezes/{id}/lift"), REASON).await
    };
    assert_eq!(lift(&first.to_string()).await.json(), json!({"id": first, "changed": true}));
    assert_eq!(lift(&first.to_string()).await.json(), json!({"id": first, "changed": false}));
    for nobody in ["999", "x"] {
        assert_eq!(lift(nobody).await.status, 404);
    }
    assert_eq!(host.get("/v1/freezes").await["items"].as_array().unwrap().len(), 4);
    for token in ["read", "approve", "submit"] {
        let reply = host.send(token, "POST", "/v1/freezes", &bodies[0].to_string()).await;
        assert_eq!(reply.status, 403, "{token}");
    }
}

#[tokio::test]
async fn a_freeze_that_is_not_clear_is_refused() {
    let host = Real::start().await;
    for (body, fields) in [
        (json!({"reason": "x"}), vec!["scope"]),
        (json!({"scope": "world", "reason": "x"}), vec!["scope"]),
        (json!({"scope": "user", "reason": "x"}), vec!["user_id"]),
        (json!({"scope": "all", "user_id": "u", "reason": "x"}), vec!["user_id"]),
        (json!({"scope": "asset", "asset": "A", "network": "one", "reason": "x"}), vec!["network"]),
        (
            json!({"scope": "withdrawal", "withdrawal_id": "1", "reason": ""}),
            vec!["withdrawal_id", "reason"],
        ),
        (json!({"scope": 1, "reason": "x"}), vec!["scope"]),
    ] {
        let reply = host.send("operate", "POST", "/v1/freezes", &body.to_string()).await;
        assert_eq!(
            (reply.status.as_u16(), reply.fields()),
            (422, fields.iter().map(|f| (*f).to_owned()).collect()),
            "{body}"
        );
    }
    assert_eq!(host.get("/v1/freezes").await, json!({"items": []}));
}
