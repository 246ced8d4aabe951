//! A manifest is accepted or refused with a reason that names the file, and never more.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|text: &str| {
    use std::path::Path;
    use tidegate::plugin::Manifest;

    match Manifest::parse(text, Path::new("plugin.toml")) {
        Ok(manifest) => {
            assert!(!manifest.handles.is_empty() && !manifest.name.is_empty());
            assert!(manifest.limits.concurrency > 0 && !manifest.limits.timeout.is_zero());
            // The same text says the same.
            assert_eq!(Manifest::parse(text, Path::new("plugin.toml")), Ok(manifest));
        }
        Err(error) => assert!(error.to_string().starts_with("plugin.toml: "), "{error}"),
    }
});

#[cfg(not(fuzzing))]
fn main() {}
