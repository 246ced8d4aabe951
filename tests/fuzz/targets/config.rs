//! A configuration is accepted, or everything wrong with it is told.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Err(errors) = tidegate::fuzzing::config(text) {
        assert!(!errors.is_empty(), "an error without a word");
    }
});

#[cfg(not(fuzzing))]
fn main() {}
