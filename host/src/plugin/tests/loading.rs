//! What is not loaded, and why: each error names the plugin, the fault and the remedy.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::components::{ENGINE, components, manifest, release};
use super::wat;
use crate::plugin::{Admission, Release, ReleaseError, read_candidate};

fn refused(wasm: &[u8], extra: &str) -> ReleaseError {
    match Release::from_bytes(&ENGINE, manifest(extra), wasm, None) {
        Ok(_) => panic!("it was loaded"),
        Err(error) => error,
    }
}

#[track_caller]
fn assert_refused(wasm: &[u8], said: &str) {
    let error = refused(wasm, "").to_string();
    assert!(error.starts_with("hostile: ") && error.contains(said), "{said:?} is not in {error:?}");
}

#[test]
fn an_unknown_import_is_named() {
    for import in [
        "tidegate:plugin/ledger@0.1.0",
        "tidegate:plugin/log@0.2.0",
        "tidegate:plugin/log",
        "wasi:keyvalue/store@0.2.0",
        "wasi:http/incoming-handler@0.2.0",
        "wasi:cli/environment@0.3.0",
        "other:package/interface@1.0.0",
    ] {
        let error = refused(&wat::importing(import), "");
        let expected =
            ReleaseError::UnknownImport { plugin: "hostile".into(), import: import.into() };
        assert_eq!(error, expected);
    }
}

#[test]
fn an_import_of_the_right_name_and_another_shape_is_refused_at_load() {
    let wasm = wat::binary(
        r#"(component (import "tidegate:plugin/log@0.1.0" (instance
            (export "write" (func (param "message" string))))))"#,
    );
    assert_refused(&wasm, "tidegate:plugin/log@0.1.0");
}

#[test]
fn a_component_without_a_handler_is_refused() {
    assert_refused(&wat::binary("(component)"), "does not export tidegate:plugin/handler@0.1.0");
}

#[tokio::test]
async fn a_handler_of_another_shape_is_refused_before_it_is_live() {
    let wasm = wat::binary(
        r#"(component
            (component $inner
                (core module $m (func (export "f")))
                (core instance $i (instantiate $m))
                (func $f (canon lift (core func $i "f")))
                (export "handle" (func $f)))
            (instance $i (instantiate $inner))
            (export "tidegate:plugin/handler@0.1.0" (instance $i)))"#,
    );
    assert_does_not_start(&wasm, "handle").await;
}

async fn assert_does_not_start(wasm: &[u8], said: &str) {
    let release = release(wasm, "[limits]\ntimeout = \"100ms\"");
    let error = release.rehearse(&ENGINE).await.unwrap_err().to_string();
    assert!(error.starts_with("hostile: the component cannot be started: "), "{error}");
    assert!(error.contains(said), "{said:?} is not in {error:?}");
}

#[tokio::test]
async fn a_component_that_cannot_start_is_refused_before_it_is_live() {
    for (start, said) in [("unreachable", "trapped"), ("(loop br 0)", "time limit 100ms reached")] {
        let start = format!("(func $start {start}) (start $start)");
        assert_does_not_start(&wat::plugin(&start, "i32.const 1024", ""), said).await;
    }
}

#[tokio::test]
async fn a_component_that_fits_passes_the_rehearsal() {
    for wasm in [&components().await.noop, &components().await.hostile] {
        assert_eq!(release(wasm, "").rehearse(&ENGINE).await, Ok(()));
    }
    let small = wat::plugin("", "i32.const 1024", "");
    assert_eq!(release(&small, "").rehearse(&ENGINE).await, Ok(()));
}

#[test]
fn what_is_no_component_is_told_apart() {
    assert_refused(&wat::binary("(module)"), "it is a core module; build it for wasm32-wasip2");
    assert_refused(b"\x7fELF\x02\x01\x01\x00", "it is a native or precompiled file");
    assert_refused(b"(component)", "its first bytes are not those of WebAssembly");
    assert_refused(b"", "its first bytes are not those of WebAssembly");
    assert_refused(b"\0asm\x0d\0\x01\0garbage", "the component does not validate");
}

#[tokio::test]
async fn a_torn_or_changed_component_is_refused() {
    let whole = &components().await.noop;
    for length in [8, 9, whole.len() / 2, whole.len() - 1] {
        let error = refused(&whole[..length], "").to_string();
        assert!(error.starts_with("hostile: the component"), "{length}: {error}");
    }
}

#[test]
fn a_precompiled_artifact_is_no_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let wasm = wat::plugin("", "i32.const 1024", "");
    Release::from_bytes(&ENGINE, manifest(""), &wasm, Some(folder.path())).map(drop).unwrap();
    let entry = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let artifact = &std::fs::read(entry).unwrap()[32..];
    assert_refused(artifact, "it is a native or precompiled file");
}

#[test]
fn more_memory_at_once_than_the_manifest_allows_is_refused() {
    assert_refused(&wat::with_modules("(memory 513)", 1), "32832KiB of memory at once");
}

#[test]
fn more_parts_than_the_pool_has_room_for_are_refused() {
    for (module, count) in
        [("(memory 1)", 9), ("(table 1 funcref)", 17), ("(table 50001 funcref)", 1), ("", 65)]
    {
        // The pool's own words, or ours where there is none.
        let number = if count == 1 { 50_001 } else { count };
        assert_refused(&wat::with_modules(module, count), &number.to_string());
    }
}

#[tokio::test]
async fn a_release_is_named_by_the_digest_of_its_component() {
    let wasm = &components().await.noop;
    let digest: String = Sha256::digest(wasm).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(release(wasm, "").digest(), digest);
}

fn folder_with(manifest: &str, wasm: Option<&[u8]>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("plugin.toml"), manifest).unwrap();
    if let Some(wasm) = wasm {
        std::fs::write(folder.path().join("component.wasm"), wasm).unwrap();
    }
    folder
}

fn load_error(folder: &Path) -> String {
    match read_candidate(folder, folder) {
        Ok(_) => panic!("it was read"),
        Err(error) => error.to_string(),
    }
}

const MANIFEST: &str = "name = \"small\"\nhandles = [\"SMALL\"]\n";

#[tokio::test]
async fn a_folder_is_admitted() {
    let folder = folder_with(MANIFEST, Some(&wat::plugin("", "i32.const 1024", "")));
    let candidate = read_candidate(folder.path(), folder.path()).unwrap();
    let admission = Admission::new(ENGINE.clone(), None);
    let release = admission.admit(candidate).await.map_err(|e| e.to_string()).unwrap();
    assert_eq!(release.manifest().name, "small");
    assert_eq!(release.origin(), folder.path().display().to_string());
}

#[tokio::test]
async fn what_cannot_start_is_not_admitted() {
    let wasm = wat::plugin("(func $start unreachable) (start $start)", "i32.const 1024", "");
    let folder = folder_with(MANIFEST, Some(&wasm));
    let candidate = read_candidate(folder.path(), folder.path()).unwrap();
    let refused = Admission::new(ENGINE.clone(), None).admit(candidate).await;
    assert!(matches!(refused.err(), Some(ReleaseError::DoesNotStart { .. })));
}

#[test]
fn a_missing_file_is_named() {
    let folder = folder_with(MANIFEST, None);
    let error = load_error(folder.path());
    assert!(error.contains("component.wasm: cannot be read"), "{error}");
    std::fs::remove_file(folder.path().join("plugin.toml")).unwrap();
    let error = load_error(folder.path());
    assert!(error.contains("plugin.toml: cannot be read"), "{error}");
}

#[test]
fn a_component_of_100_mebibytes_is_not_read() {
    let folder = folder_with(MANIFEST, None);
    let file = std::fs::File::create(folder.path().join("component.wasm")).unwrap();
    file.set_len(100 << 20).unwrap();
    let error = load_error(folder.path());
    assert!(error.contains("component.wasm: it has more than 67108864 bytes"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_link_is_followed_within_the_folder_of_plugins_and_not_out_of_it() {
    use std::os::unix::fs::symlink;
    let plugins = tempfile::tempdir().unwrap();
    let folder = plugins.path().join("small");
    std::fs::create_dir(&folder).unwrap();
    std::fs::create_dir(folder.join("..data")).unwrap();
    for (name, bytes) in
        [("plugin.toml", MANIFEST.as_bytes()), ("component.wasm", b"\0asm\x0d\0\x01\0")]
    {
        std::fs::write(folder.join("..data").join(name), bytes).unwrap();
        symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
    }
    assert_eq!(read_candidate(plugins.path(), &folder).unwrap().manifest_text, MANIFEST);

    std::fs::remove_file(folder.join("component.wasm")).unwrap();
    for elsewhere in ["/dev/zero", "/etc/passwd"] {
        let _ = std::fs::remove_file(folder.join("component.wasm"));
        symlink(elsewhere, folder.join("component.wasm")).unwrap();
        let error = read_candidate(plugins.path(), &folder).unwrap_err().to_string();
        assert!(error.contains(&format!("it leads to {elsewhere}, outside of")), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_opened() {
    let folder = folder_with(MANIFEST, None);
    std::fs::create_dir(folder.path().join("component.wasm")).unwrap();
    let error = load_error(folder.path());
    assert!(error.contains("component.wasm: cannot be read: it is no file"), "{error}");
}
