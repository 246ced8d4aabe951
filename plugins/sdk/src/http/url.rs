//! As much of an address as a request needs, and no more: the host judges it again.

/// An address taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) https: bool,
    pub(crate) authority: String,
    pub(crate) path_and_query: String,
}

impl Target {
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) =
            url.split_once("://").ok_or("the address does not begin with http:// or https://")?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err("the address does not begin with http:// or https://".into()),
        };
        if rest.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'\\') {
            return Err("the address holds a blank, a backslash or a control character".into());
        }
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.is_empty() {
            return Err("the address names no host".into());
        }
        if authority.contains('@') {
            return Err("the address holds a user name; use a header for credentials".into());
        }
        let path_and_query =
            if path.starts_with('/') { path.to_string() } else { format!("/{path}") };
        Ok(Self { https, authority: authority.to_string(), path_and_query })
    }

    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", if self.https { "https" } else { "http" }, self.authority)
    }
}

/// Scheme, host and port of an address, for reasons and logs: a path may hold a key.
///
/// ```
/// # use tidegate_plugin::http;
/// assert_eq!(http::origin("https://node.example/v2/key").as_deref(), Some("https://node.example"));
/// assert_eq!(http::origin("node.example"), None);
/// ```
#[must_use]
pub fn origin(url: &str) -> Option<String> {
    Target::parse(url).ok().map(|target| target.origin())
}

/// Makes any text fit for one segment of a path or one value of a query.
///
/// ```
/// # use tidegate_plugin::http;
/// assert_eq!(http::encode("a/b c?d=é"), "a%2Fb%20c%3Fd%3D%C3%A9");
/// ```
#[must_use]
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (url, origin, path) in [
            ("http://a.example", "http://a.example", "/"),
            ("HTTPS://a.example:8443/x/y?z=1#part", "https://a.example:8443", "/x/y?z=1"),
            ("http://127.0.0.1:8545?key=1", "http://127.0.0.1:8545", "/?key=1"),
            ("http://[::1]:80/", "http://[::1]:80", "/"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.origin().as_str(), target.path_and_query.as_str()), (origin, path));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for url in [
            "",
            "a.example",
            "ftp://a",
            "http://",
            "http:///x",
            "http://u:p@a/",
            "http://a/ b",
            "http://a\\b",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}
