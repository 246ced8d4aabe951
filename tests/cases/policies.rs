//! What policies hold, through the built host: it waits, says for what, and goes on when it may.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_tests::api::Api;
use tidegate_tests::bench::Bench;
use tidegate_tests::command_line::{ask, tidegate};
use tidegate_tests::eventually::eventually;
use tidegate_tests::installation::Installation;
use tidegate_tests::machine;
use tidegate_tests::order::Order;

const WITHIN: Duration = Duration::from_secs(30);

const POLICIES: &str = r#"
[[policies.amounts]]
asset = "ETH"
amount_max = "5"
[[policies.approvals]]
asset = "ETH"
above = "1"
approvals = 2
approvers = ["ann", "bob"]
"#;

/// A token of this name, and the lines that the configuration needs.
fn token(name: &str) -> (String, String) {
    let made = tidegate(&["token", "new", "--name", name, "--role", "approve", "--role", "read"]);
    assert_eq!(made.code, 0, "{made:?}");
    let token = made.out.split_whitespace().find(|word| word.starts_with("tidegate_")).unwrap();
    (token.to_owned(), made.out.split("For tidegate.toml:").nth(1).unwrap().to_owned())
}

fn order(number: u32, amount: &str) -> Order {
    Order { amount: amount.into(), ..Order::number(number) }
}

async fn waits_for(api: &Api, id: &str, rule: &str) -> Value {
    eventually(&format!("{id} waits for {rule}"), WITHIN, async || {
        let shown = api.get(&format!("/v1/withdrawals/{id}")).await;
        if shown["waiting_for"]["rule"] == rule { Ok(shown) } else { Err(shown.to_string()) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_policies_hold_waits_says_for_what_and_is_paid_once_when_it_may() {
    let _shared = machine::shared().await;
    let ((ann, of_ann), (bob, of_bob)) = (token("ann"), token("bob"));
    let installation = Installation::new().with_sqlite().with(&of_ann).with(&of_bob).with(POLICIES);
    let bench = Bench::on(installation).await;
    bench.add_plugins(|partner| partner).await;
    let (_host, api) = bench.installation.serve().await;
    let as_ann = Api::new(api.url(), &ann);
    let as_bob = Api::new(api.url(), &bob);

    // Nobody need agree to a small one, and nobody can to one that is too large.
    let (small, large, other, huge) =
        (order(1, "0.01"), order(2, "2.5"), order(3, "3"), order(4, "5.01"));
    let paid = api.submit(&small).await;
    let held = api.submit(&large).await;
    let unwanted = api.submit(&other).await;
    let refused = api.submit(&huge).await;
    api.reaches(&paid, "CONFIRMED", WITHIN).await;
    let failed = api.reaches(&refused, "FAILED", WITHIN).await;
    assert!(
        failed["failure_reason"].as_str().unwrap().contains("5.01 ETH is more than 5"),
        "{failed}"
    );

    for id in [&held, &unwanted] {
        let waiting = waits_for(&api, id, "policy.approvals").await;
        assert_eq!(waiting["status"], "REQUESTED");
        assert!(waiting["waiting_for"]["reason"].as_str().unwrap().contains("0 of 2"), "{waiting}");
    }
    let listed = ask(&as_ann, &["approvals", "list", "--json"]).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2, "{listed}");
    let why = ["--reason", "called the customer"];
    let verb = |verb: &'static str, id: &str| -> Vec<String> {
        ["approvals", verb, id].into_iter().chain(why).map(str::to_owned).collect()
    };
    let say = |who: &Api, what: &'static str, id: &str| {
        let arguments = verb(what, id);
        ask(who, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert_eq!(say(&api, "approve", &held).code, 1, "this token has no such role");
    assert_eq!(say(&as_ann, "approve", &held).code, 0);
    let again = say(&as_ann, "approve", &held);
    assert!(again.out.contains("is approved already by ann"), "{again:?}");
    let rejected = say(&as_bob, "reject", &unwanted);
    assert_eq!(rejected.out.trim(), format!("{unwanted} is FAILED"), "{rejected:?}");
    let shown = ask(&as_bob, &["approvals", "list"]);
    assert!(shown.out.contains("1 of 2") && shown.out.contains(&held), "{shown:?}");
    assert_eq!(say(&as_bob, "approve", &held).code, 0);
    api.reaches(&held, "CONFIRMED", WITHIN).await;
    let late = say(&as_bob, "reject", &held);
    assert!(late.code == 1 && late.err.contains("cancel it"), "{late:?}");

    let kept = api.get(&format!("/v1/withdrawals/{held}/decisions")).await;
    let outcomes: Vec<_> = kept["items"].as_array().unwrap().iter().collect();
    let (last, first) = (outcomes.last().unwrap(), outcomes.first().unwrap());
    assert_eq!((&first["outcome"], &first["rule"]), (&json!("WAIT"), &json!("policy.approvals")));
    assert_eq!(
        (&last["outcome"], &last["figures"]["approvals"]),
        (&json!("ALLOW"), &json!("2 of 2"))
    );

    // What is frozen waits, and goes on when it is let go.
    let frozen = order(5, "0.02");
    let set = ["freezes", "set", "--user", &frozen.user, "--reason", "stolen phone", "--json"];
    let number = ask(&api, &set).json()["freeze"]["id"].to_string();
    let thawed = api.submit(&frozen).await;
    let waiting = waits_for(&api, &thawed, "policy.freeze").await;
    assert!(
        waiting["waiting_for"]["reason"].as_str().unwrap().contains("stolen phone"),
        "{waiting}"
    );
    let shown = ask(&api, &["withdrawals", "show", &thawed]);
    assert!(shown.out.contains("waits for policy.freeze since"), "{shown:?}");
    let lifted = ask(&api, &["freezes", "lift", &number, "--reason", "found"]);
    assert_eq!(lifted.out.trim(), format!("freeze {number} is lifted"), "{lifted:?}");
    api.reaches(&thawed, "CONFIRMED", WITHIN).await;

    let transfers = bench.node.transfers().await;
    let mut found: Vec<_> = transfers.iter().map(|it| (it.to.clone(), it.units.clone())).collect();
    let paid = [small, large, frozen].map(|it| (it.destination.to_lowercase(), it.units(18)));
    found.sort();
    assert_eq!(found, paid, "each that was allowed, once, and nothing else");
    let config = bench.installation.path().join("tidegate.toml").display().to_string();
    let verified = tidegate(&["verify", "--config", &config]);
    assert_eq!(verified.code, 0, "{verified:?}");
}
