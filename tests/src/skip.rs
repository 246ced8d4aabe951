//! What happens to a test whose server is not installed.

/// Says that a test is skipped and what would change that. With `TIDEGATE_REQUIRE_ALL=1`, which CI
/// sets, nothing may be skipped.
///
/// # Panics
/// Everything is required.
pub fn skip(what: &str, install: &str) {
    let line = format!("skipped: {what}: {install}");
    assert!(std::env::var_os("TIDEGATE_REQUIRE_ALL").is_none_or(|v| v != "1"), "{line}");
    eprintln!("{line}");
}
