//! A payload on its way to a guest and back: what the host believes of a guest, everybody can read.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|text: &str| {
    use serde_json::Value;

    let mut event = tidegate_plugin::testing::event("FUZZED", Value::Null);
    event.raw_payload = text.to_owned();
    let seen: Result<Value, _> = event.payload();
    let believed = tidegate::fuzzing::receipt_detail(text);
    if believed.is_ok() {
        let seen = seen.expect("what the host believes is JSON to a guest");
        let given_back = seen.to_string();
        // Not compared: a number with a fraction may lose its last bit, which is why the host keeps
        // the text.
        let _: Value = serde_json::from_str(&given_back).expect("and to whoever reads it next");
        if given_back.len() <= 64 << 10 {
            assert_eq!(tidegate::fuzzing::receipt_detail(&given_back), Ok(()));
        }
    }
});

#[cfg(not(fuzzing))]
fn main() {}
