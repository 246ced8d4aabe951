//! Versions of the contract: what was built for an earlier or a later one of the track runs.

use serde_json::json;

use super::components::{ENGINE, attempt, components, detail, manifest, release};
use super::fakes::Fakes;
use super::wat;
use crate::domain::Outcome;
use crate::plugin::Release;

#[tokio::test]
async fn a_component_built_for_0_1_0_keeps_working() {
    let release = release(&components().await.contract_0_1_0, "settings = { name = \"x\" }");
    assert_eq!(release.rehearse(&ENGINE).await, Ok(()));
    assert!(release.reconciles());
    let fakes = Fakes::with_secret("KEY", "value");
    let outcome = attempt(&release, &fakes.services(), json!({ "n": 1 })).await;
    let detail = detail(outcome);
    assert_eq!(detail["settings"], json!({ "name": "x" }));
    let seen = detail["seen"].as_str().unwrap();
    assert!(seen.starts_with("Ok(None) Ok(()) Ok("), "{seen}");
    assert!(seen.ends_with("Ok(18) Ok(false) Ok(()) attempt 1"), "{seen}");
    assert_eq!(fakes.checkpoint.lock().unwrap().as_deref(), Some(&b"0.1.0"[..]));
    assert_eq!(fakes.published.lock().unwrap().len(), 1);
}

/// The same component, as if built for another version.
fn of_version(version: &str) -> Vec<u8> {
    let (mut wasm, old) = (wat::plugin("", "i32.const 1024", ""), b"handler@0.1.0");
    let at = wasm.windows(old.len()).position(|bytes| bytes == old).unwrap();
    wasm[at..at + old.len()].copy_from_slice(format!("handler@{version}").as_bytes());
    wasm
}

#[tokio::test]
async fn any_version_of_the_track_is_found_and_no_other() {
    for version in ["0.1.0", "0.1.1", "0.1.9"] {
        let release = release(&of_version(version), "");
        assert_eq!(release.rehearse(&ENGINE).await, Ok(()), "{version}");
        let outcome = attempt(&release, &Fakes::new().services(), json!({})).await;
        assert!(matches!(outcome, Outcome::Done(_)), "{version}: {outcome:?}");
    }
    for version in ["0.2.0", "1.1.0"] {
        let refused = Release::from_bytes(&ENGINE, manifest(""), &of_version(version), None).err();
        let reason = refused.unwrap().to_string();
        assert!(reason.contains("does not export tidegate:plugin/handler"), "{version}: {reason}");
    }
}
