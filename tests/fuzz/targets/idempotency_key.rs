//! One key, however it is written: bare, in quotes, with escapes. Header values by lines.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    use tidegate::fuzzing::idempotency_key;

    let values: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let Some(key) = idempotency_key(&values) else { return };
    assert_eq!(values.len(), 1, "two headers are none");
    assert!((1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()));
    let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
    assert_eq!(idempotency_key(&[quoted.as_bytes()]), Some(key));
});

#[cfg(not(fuzzing))]
fn main() {}
