//! The router's table and the OpenAPI document say the same.

use std::collections::BTreeSet;

use super::super::auth::Access;
use super::super::openapi::DOCUMENT;
use super::super::router::routes;
use super::*;

fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

#[test]
fn the_document_describes_each_route_and_no_other() {
    let table: BTreeSet<(String, String)> = routes()
        .iter()
        .map(|route| (route.path.to_owned(), route.method.as_str().to_lowercase()))
        .collect();
    let mut described = BTreeSet::new();
    for (path, item) in document()["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            described.insert((path.clone(), method.clone()));
        }
    }
    assert_eq!(table, described);
}

#[test]
fn the_document_names_the_role_that_each_route_needs() {
    for route in routes() {
        let method = route.method.as_str().to_lowercase();
        let operation = document()["paths"][route.path][method].take();
        let secured = operation["security"] == json!([{"bearer": []}]);
        match route.access {
            Access::Open => assert!(!secured, "{}", route.path),
            Access::Needs(role) => {
                assert!(secured, "{}", route.path);
                let sentence = format!("Needs the role `{role}`.");
                assert_eq!(operation["description"], sentence, "{}", route.path);
            }
        }
    }
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    fn walk(value: &Value, root: &Value) {
        match value {
            Value::Object(entries) => {
                if let Some(reference) = entries.get("$ref").and_then(Value::as_str) {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(root.pointer(pointer).is_some(), "{reference}");
                }
                entries.values().for_each(|value| walk(value, root));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, root)),
            _ => {}
        }
    }
    walk(&document(), &document());
}

#[test]
fn every_kind_of_problem_is_described() {
    for kind in ProblemKind::ALL {
        let described = DOCUMENT.contains(&format!("`{}`", kind.slug()))
            || DOCUMENT.contains(&format!("/problems/{}`", kind.slug()));
        assert!(described, "{}", kind.slug());
    }
}

#[tokio::test]
async fn what_is_answered_has_the_keys_of_the_document() {
    let host = host();
    let created = host.submit("\"k\"", &a_body()).await.json();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let schema = |name: &str| keys(&document()["components"]["schemas"][name]["properties"]);
    assert_eq!(keys(&created), schema("Withdrawal"));
    let events = host.get("/v1/events").await.json();
    assert_eq!(keys(&events), schema("EventPage"));
    assert_eq!(keys(&events["items"][0]), schema("Event"));
    let id = events["items"][0]["id"].as_str().unwrap();
    let history = host.get(&format!("/v1/events/{id}")).await.json();
    assert_eq!(keys(&history), schema("EventHistory"));
}

#[tokio::test]
async fn the_document_is_served() {
    let host = host();
    let reply = host.get("/openapi.json").await;
    assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, "application/json"));
    assert_eq!(reply.json(), document());
}
