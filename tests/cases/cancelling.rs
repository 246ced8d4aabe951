//! Giving withdrawals up, and freezing the account that pays, through the built host: on the chain
//! nothing is paid that is FAILED.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_tests::api::{Api, http_client, send};
use tidegate_tests::bench::Bench;
use tidegate_tests::command_line::{ask, tidegate};
use tidegate_tests::eventually::eventually;
use tidegate_tests::machine;
use tidegate_tests::order::{NETWORK, Order};

const WITHIN: Duration = Duration::from_secs(30);
const WHY: [&str; 2] = ["--reason", "a mistake"];

async fn tell_the_node(bench: &Bench, mode: &str) {
    let url = format!("{}/_faults", bench.node.url().trim_end_matches('/'));
    let told = send(http_client().post(url).json(&json!({ "mode": mode }))).await.unwrap();
    assert!((200..300).contains(&told.status), "{}", told.text);
}

async fn has_closing(api: &Api, id: &str) -> Value {
    eventually(&format!("a closing of {id} is signed"), WITHIN, async || {
        let timeline = api.get(&format!("/v1/withdrawals/{id}/timeline")).await;
        let entries = timeline["entries"].as_array().unwrap();
        let closing = entries.iter().find(|entry| entry["purpose"] == "CLOSING");
        closing.cloned().ok_or_else(|| timeline.to_string())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_is_never_paid_and_fails_only_when_that_is_true() {
    let _shared = machine::shared().await;
    let bench = Bench::start().await;
    bench.add_plugins(|partner| partner).await;
    let (_host, api) = bench.installation.serve().await;
    let cancel = |id: &str| ask(&api, &["withdrawals", "cancel", id, WHY[0], WHY[1]]);

    // After the signature the chain decides.
    tell_the_node(&bench, "pause_mining").await;
    let raced = api.submit(&Order::number(1)).await;
    api.reaches(&raced, "BROADCASTED", WITHIN).await;
    let told = cancel(&raced);
    assert!(told.code == 0 && told.out.contains("the chain decides"), "{told:?}");
    let closing = has_closing(&api, &raced).await;
    assert_eq!(closing["nonce"], 0, "{closing}");
    let waiting = api.get(&format!("/v1/withdrawals/{raced}")).await;
    assert_eq!(waiting["status"], "BROADCASTED", "nothing is said before it is true");
    tell_the_node(&bench, "resume_mining").await;
    let failed = api.reaches(&raced, "FAILED", WITHIN).await;
    assert!(failed["failure_reason"].as_str().unwrap().contains("a mistake"), "{failed}");

    // Before the signature it fails at once: a frozen account signs nothing.
    let account = bench.installation.account();
    let of_account =
        |verb: &'static str| ask(&api, &["accounts", verb, NETWORK, account, WHY[0], WHY[1]]);
    let frozen = of_account("freeze");
    assert!(frozen.code == 0 && frozen.out.trim().ends_with("is frozen"), "{frozen:?}");
    assert!(of_account("freeze").out.trim().ends_with("already"));
    let held = api.submit(&Order::number(2)).await;
    eventually("it waits for the account", WITHIN, async || {
        let shown = api.get(&format!("/v1/withdrawals/{held}")).await;
        if shown["waiting_for"]["rule"] == "account.frozen" {
            Ok(())
        } else {
            Err(shown.to_string())
        }
    })
    .await;
    let told = cancel(&held);
    assert!(told.code == 0 && told.out.contains("is FAILED"), "{told:?}");
    assert_eq!(api.get(&format!("/v1/withdrawals/{held}")).await["status"], "FAILED");
    assert_eq!(cancel(&held).code, 0, "a repeat is answered the same");

    // The nonce behind the closed one pays.
    assert_eq!(of_account("unfreeze").code, 0);
    let paid = Order::number(3);
    let id = api.submit(&paid).await;
    api.reaches(&id, "CONFIRMED", WITHIN).await;
    let late = cancel(&id);
    assert!(late.code == 1 && late.err.contains("CONFIRMED"), "{late:?}");
    let shown = ask(&api, &["accounts", "show", NETWORK, account, "--json"]).json();
    assert_eq!((&shown["next_nonce"], &shown["mined"]), (&json!(2), &json!(2)), "{shown}");
    let history = shown["history"].as_array().unwrap();
    assert_eq!(history.iter().map(|it| &it["kind"]).collect::<Vec<_>>(), ["frozen", "unfrozen"]);

    let transfers = bench.node.transfers().await;
    let found: Vec<_> = transfers.iter().map(|it| (it.to.clone(), it.units.clone())).collect();
    assert_eq!(found, [(paid.destination.to_lowercase(), paid.units(18))]);
    let config = bench.installation.path().join("tidegate.toml").display().to_string();
    let verified = tidegate(&["verify", "--config", &config]);
    assert_eq!(verified.code, 0, "{verified:?}");
}
