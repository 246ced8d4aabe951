//! What operators see of plugins.

use std::path::Path;

use crate::plugin::{Manifest, PluginState, Refusal};

use super::*;

fn refusal(manifest: Option<&str>) -> Refusal {
    let parse = |text: &str| Manifest::parse(text, Path::new("plugin.toml")).unwrap();
    Refusal {
        origin: "/plugins/mailer".into(),
        plugin: "mailer".into(),
        digest: Some("00ff".into()),
        manifest: manifest.map(parse),
        state: PluginState::Rejected,
        reason: "mailer: it is bad".into(),
    }
}

#[tokio::test]
async fn a_rejected_plugin_is_listed_with_its_reason() {
    let host = host();
    assert_eq!(host.get("/v1/plugins").await.json(), json!({"items": []}));
    host.registry.refuse(refusal(None));
    let plugin = host.get("/v1/plugins").await.json()["items"][0].take();
    assert_eq!(plugin["state"], "rejected");
    assert_eq!(plugin["reason"], "mailer: it is bad");
    assert_eq!((&plugin["plugin"], &plugin["manifest"]), (&json!("mailer"), &Value::Null));
    let reply = host.get("/v1/plugins?x=1").await;
    assert_eq!(reply.status, 400);
}

#[tokio::test]
async fn grants_are_in_words_and_limits_as_the_manifest_has_them() {
    let host = host();
    let manifest =
        "name = \"mailer\"\nhandles = [\"A\"]\n[grants]\nhttp = [\"https://a.example\"]\n";
    host.registry.refuse(refusal(Some(manifest)));
    let plugin = host.get("/v1/plugins").await.json()["items"][0]["manifest"].take();
    assert_eq!(plugin["grants"], json!(["may call https://a.example"]));
    assert_eq!(plugin["limits"]["timeout"], "10s");
    assert_eq!(plugin["handles"], json!(["A"]));
}

#[tokio::test]
async fn what_is_held_is_approved_as_it_was_looked_at() {
    let host = host_of(Limits::default(), ReleaseRule::default());
    let approve = |query: &str| {
        let path = format!("/v1/plugins/mailer/approve{query}");
        let mut request = request("POST", &path, r#"{"reason":"looked at"}"#.to_owned());
        request.headers_mut().insert("content-type", "application/json".parse().unwrap());
        request
    };
    assert_eq!(host.send(approve("")).await.status, 409, "nothing is held");
    let text = "name = \"mailer\"\nhandles = [\"A\"]\n";
    host.registry.refuse(Refusal { state: PluginState::Held, ..refusal(Some(text)) });
    assert_eq!(host.send(approve("?manifest_digest=another")).await.status, 409);
    let listed = host.get("/v1/plugins").await.json()["items"][0].take();
    assert_eq!(listed["state"], "held");
    let digest = listed["manifest"]["digest"].as_str().unwrap().to_owned();
    let query = format!("?manifest_digest={digest}");
    let approved = host.send(approve(&query)).await;
    let expected = json!({"plugin": "mailer", "manifest_digest": digest, "changed": true});
    assert_eq!((approved.status.as_u16(), approved.json()), (200, expected));
    assert_eq!(host.send(approve(&query)).await.json()["changed"], false);
}

#[tokio::test]
async fn what_is_listed_has_the_keys_of_the_document() {
    let host = host();
    host.registry.refuse(refusal(Some("name = \"mailer\"\nhandles = [\"A\"]\n")));
    let document: Value = serde_json::from_str(openapi::DOCUMENT).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let schema = |name: &str| keys(&document["components"]["schemas"][name]["properties"]);
    let plugin = host.get("/v1/plugins").await.json()["items"][0].take();
    assert_eq!(keys(&plugin), schema("Plugin"));
    assert_eq!(keys(&plugin["manifest"]), schema("PluginManifest"));
}
