//! Which release handles which event, and how the set of them is replaced.

use std::path::Path;
use std::sync::Arc;

use super::components::{ENGINE, release};
use super::wat;
use crate::domain::EventType;
use crate::plugin::{Release, RouteClash, Routes};

fn plugin(name: &str, manifest: &str) -> Arc<Release> {
    let wasm = wat::plugin("", "i32.const 1024", "");
    Arc::new(release(&wasm, &format!("name = \"{name}\"\n{manifest}")))
}

fn of(event_type: &str) -> EventType {
    event_type.parse().unwrap()
}

fn name_of(route: Option<&Arc<Release>>) -> Option<&str> {
    route.map(|release| release.manifest().name.as_str())
}

#[test]
fn two_plugins_of_one_route_are_both_named() {
    let routes = Routes::new(vec![
        plugin("first", "handles = [\"A\", \"B\"]"),
        plugin("second", "handles = [\"B\"]"),
    ]);
    let clash = routes.err().unwrap();
    let expected =
        RouteClash::Route { event_type: of("B"), first: "first".into(), second: "second".into() };
    assert_eq!(clash, expected);
    let text = clash.to_string();
    assert!(text.starts_with("both first and second handle B: "), "{text}");
}

#[test]
fn two_plugins_of_one_name_are_refused() {
    let routes =
        Routes::new(vec![plugin("one", "handles = [\"A\"]"), plugin("one", "handles = [\"B\"]")]);
    let (name, first, second) = ("one".into(), "one".into(), "one".into());
    assert_eq!(routes.err(), Some(RouteClash::Name { name, first, second }));
}

#[test]
fn selectors_route_by_the_payloads_network() {
    let routes = Routes::new(vec![
        plugin("evm", "handles = [\"A\"]\nselect = { network = \"eip155:*\" }"),
        plugin("bitcoin", "handles = [\"A\"]\nselect = { network = \"bip122:main\" }"),
    ])
    .unwrap();
    let route = |payload: &str| name_of(routes.route(&of("A"), payload));
    assert_eq!(route(r#"{"network": "eip155:1"}"#), Some("evm"));
    assert_eq!(route(r#"{"x": 1, "network": "bip122:main"}"#), Some("bitcoin"));
    for nobodys in [
        r#"{"network": "bip122:test"}"#,
        r#"{"network": 7}"#,
        "{}",
        "no JSON",
        r#"{"network": ""}"#,
    ] {
        assert_eq!(route(nobodys), None, "{nobodys}");
    }
    assert_eq!(name_of(routes.route(&of("B"), "{}")), None);
    assert_eq!(name_of(routes.judge(&of("A"), &"eip155:5".parse().unwrap())), Some("evm"));
    assert!(routes.judge(&of("A"), &"cosmos:1".parse().unwrap()).is_none());
}

#[test]
fn selectors_that_overlap_clash() {
    let overlapping = [
        ("select = { network = \"eip155:*\" }", "select = { network = \"eip155:1\" }"),
        ("select = { network = \"eip155:1\" }", "select = { network = \"eip155:1\" }"),
        ("select = { network = \"eip155:1\" }", ""),
    ];
    for (first, second) in overlapping {
        let routes = Routes::new(vec![
            plugin("first", &format!("handles = [\"A\"]\n{first}")),
            plugin("second", &format!("handles = [\"A\"]\n{second}")),
        ]);
        assert!(matches!(routes.err(), Some(RouteClash::Route { .. })), "{first} {second}");
    }
}

fn install(plugins: &Path, name: &str, event_type: &str) {
    let folder = plugins.join(name);
    std::fs::create_dir(&folder).unwrap();
    let manifest = format!("name = \"{name}\"\nhandles = [\"{event_type}\"]\n");
    std::fs::write(folder.join("plugin.toml"), manifest).unwrap();
    std::fs::write(folder.join("component.wasm"), wat::plugin("", "i32.const 1024", "")).unwrap();
}

#[test]
fn a_folder_of_plugins_is_loaded_whole() {
    let plugins = tempfile::tempdir().unwrap();
    install(plugins.path(), "one", "A");
    install(plugins.path(), "two", "B");
    std::fs::create_dir(plugins.path().join("no-plugin")).unwrap();
    let routes = Routes::from_folder(&ENGINE, plugins.path(), None).map_err(|e| e.to_string());
    let routes = routes.unwrap();
    assert_eq!(routes.event_types().map(EventType::as_str).collect::<Vec<_>>(), ["A", "B"]);
    install(plugins.path(), "three", "B");
    let error = Routes::from_folder(&ENGINE, plugins.path(), None).err().unwrap().to_string();
    assert!(error.contains("three") && error.contains("two") && error.contains('B'), "{error}");
    let missing = plugins.path().join("nowhere");
    let error = Routes::from_folder(&ENGINE, &missing, None).err().unwrap().to_string();
    assert!(error.contains("nowhere: cannot be read"), "{error}");
}
