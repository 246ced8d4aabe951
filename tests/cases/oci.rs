//! Plugins in an OCI registry.

use tidegate_tests::command_line::tidegate;
use tidegate_tests::components::component;
use tidegate_tests::registry::OciRegistry;

const MANIFEST: &str = "name = \"noop\"\nhandles = [\"NOTHING_HAPPENED\"]\n";

#[tokio::test]
async fn a_plugin_goes_through_a_registry_in_the_layout_of_other_tools() {
    let folder = tempfile::tempdir().unwrap();
    let Some(registry) = OciRegistry::start(folder.path()).await else { return };
    let pushed_from = folder.path().join("noop");
    std::fs::create_dir(&pushed_from).unwrap();
    let wasm = std::fs::read(component("noop").await).unwrap();
    std::fs::write(pushed_from.join("component.wasm"), &wasm).unwrap();
    std::fs::write(pushed_from.join("plugin.toml"), MANIFEST).unwrap();
    std::fs::write(pushed_from.join("component.wasm.minisig"), "as it was signed").unwrap();
    let at = format!("oci://{}/team/noop:1.0.0", registry.address);
    let (from, into) = (pushed_from.display().to_string(), folder.path().join("into"));

    let pushed = tidegate(&["plugin", "push", &from, &at, "--json"]);
    assert_eq!((pushed.code, pushed.err.as_str()), (0, ""), "{pushed:?}");
    let digest = pushed.json()["component"].as_str().unwrap().to_owned();

    let manifest = registry.manifest("team/noop", "1.0.0").await;
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 1, "{manifest:#}");
    assert_eq!(layers[0]["mediaType"], "application/wasm");
    assert_eq!(layers[0]["digest"], digest.as_str());
    let config = manifest["config"]["digest"].as_str().unwrap();
    let config = registry.json_blob("team/noop", config).await;
    assert_eq!((&config["architecture"], &config["os"]), (&"wasm".into(), &"wasip2".into()));
    assert_eq!(config["layerDigests"][0], digest.as_str());
    let exports = config["component"]["exports"].to_string();
    assert!(exports.contains("tidegate:plugin/handler@0.1"), "{config:#}");

    let target = into.display().to_string();
    let pulled = tidegate(&["plugin", "pull", &at, &target]);
    assert_eq!((pulled.code, pulled.err.as_str()), (0, ""), "{pulled:?}");
    assert!(pulled.out.contains(&digest) && pulled.out.contains("author's"), "{}", pulled.out);
    assert_eq!(std::fs::read(into.join("component.wasm")).unwrap(), wasm);
    assert_eq!(std::fs::read_to_string(into.join("plugin.toml")).unwrap(), MANIFEST);
    let signature = std::fs::read_to_string(into.join("component.wasm.minisig")).unwrap();
    assert_eq!(signature, "as it was signed");

    let own = "name = \"mine\"\nhandles = [\"MINE\"]\n";
    std::fs::write(into.join("plugin.toml"), own).unwrap();
    let by_digest =
        format!("oci://{}/team/noop@{}", registry.address, manifest_digest(&registry).await);
    let pulled = tidegate(&["plugin", "pull", &by_digest, &target]);
    assert!(pulled.code == 0 && pulled.out.contains("kept your plugin.toml"), "{pulled:?}");
    assert_eq!(std::fs::read_to_string(into.join("plugin.toml")).unwrap(), own);
}

async fn manifest_digest(registry: &OciRegistry) -> String {
    let url = format!("http://{}/v2/team/noop/manifests/1.0.0", registry.address);
    let asked = reqwest::Client::new()
        .head(url)
        .header("Accept", "application/vnd.oci.image.manifest.v1+json");
    let answer = asked.send().await.unwrap();
    answer.headers()["docker-content-digest"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_no_plugin_does_not_go_through_a_registry() {
    let folder = tempfile::tempdir().unwrap();
    let Some(registry) = OciRegistry::start(folder.path()).await else { return };
    let broken = folder.path().join("broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("component.wasm"), b"\0asm\x01\0\0\0").unwrap();
    std::fs::write(broken.join("plugin.toml"), MANIFEST).unwrap();
    let at = format!("oci://{}/team/broken:1", registry.address);
    let (from, into) = (broken.display().to_string(), folder.path().join("into"));

    let pushed = tidegate(&["plugin", "push", &from, &at]);
    assert_eq!(pushed.code, 1);
    assert!(pushed.err.contains("core module"), "{}", pushed.err);
    let pulled = tidegate(&["plugin", "pull", &at, &into.display().to_string()]);
    assert_eq!(pulled.code, 1);
    assert!(pulled.err.contains(&at) && pulled.err.contains("what to do: "), "{}", pulled.err);
    assert!(!into.exists(), "nothing is written");
    let pushed = tidegate(&["plugin", "push", &from, "registry.example/broken:1"]);
    assert!(pushed.err.contains("oci://registry.example/team/name:1.2.3"), "{}", pushed.err);
}
