//! A grant allows its own host and none that only looks like it. First line: the grant; second: a URL.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|text: &str| {
    use tidegate::plugin::Origin;
    use url::Url;

    let Some((grant, url)) = text.split_once('\n') else { return };
    let (Ok(origin), Ok(url)) = (grant.parse::<Origin>(), Url::parse(url)) else { return };
    let shown = origin.to_string();
    assert_eq!(shown.parse::<Origin>().map(|again| again.to_string()), Ok(shown.clone()));
    if !origin.allows(&url) {
        return;
    }
    // An independent, cruder idea of the same rule.
    let host = url.host_str().expect("an allowed URL has a host").trim_end_matches('.');
    let (scheme, rest) = shown.split_once("://").expect("a grant has a scheme");
    assert_eq!(url.scheme(), scheme);
    let name = |authority: &str| {
        let port = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
        authority[..port.unwrap_or(authority.len())].to_owned()
    };
    match rest.strip_prefix('*') {
        Some(suffix) => assert!(host.ends_with(&name(suffix)), "{shown} let {url} out"),
        None => assert_eq!(host, name(rest), "{shown} let {url} out"),
    }
});

#[cfg(not(fuzzing))]
fn main() {}
