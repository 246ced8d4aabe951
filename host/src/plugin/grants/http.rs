//! One line of `grants.http`: an origin, and what of it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use super::origin::{GrantError, Origin};

/// What a plugin may ask of one origin, and how the host connects to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGrant {
    pub origin: Origin,
    /// In the letters of the wire; empty for all.
    pub methods: Vec<String>,
    /// `/v1` allows itself and what lies below it, `/v1/` only what lies below; empty for all.
    pub paths: Vec<String>,
    /// Whether addresses that are not on the public internet may be dialled.
    pub private: bool,
    /// Whose certificates are believed, instead of the system's roots.
    pub ca: Option<PemSource>,
    /// Whom the host says to be: its certificate chain and key.
    pub client: Option<ClientIdentity>,
    /// The longest wait for a connection, name and TLS included.
    pub connect_timeout: Option<Duration>,
    /// From the request to the last byte of its answer.
    pub request_timeout: Option<Duration>,
    /// Between two parts of an answer.
    pub idle_timeout: Option<Duration>,
}

/// Where a certificate or a key lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PemSource {
    File(PathBuf),
    /// The text itself. Never a key's.
    Inline(String),
    /// Under `[secrets]` of the host.
    Secret(String),
}

impl fmt::Display for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Inline(_) => f.write_str("the certificate in the manifest"),
            Self::Secret(name) => write!(f, "the secret {name:?}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    pub certificate: PemSource,
    pub key: PemSource,
}

/// What connections are kept apart by: one made under another policy skipped this one's checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::plugin) struct ConnectionPolicy {
    pub(in crate::plugin) private: bool,
    /// Whether the machine's own link, with its metadata, may be dialled: only by a name of its own.
    pub(in crate::plugin) link_local: bool,
    pub(in crate::plugin) ca: Option<PemSource>,
    pub(in crate::plugin) client: Option<ClientIdentity>,
    pub(in crate::plugin) connect_timeout: Duration,
}

/// The longest wait for a connection where the grant says nothing.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

impl FromStr for HttpGrant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        Ok(Self {
            origin: text.parse()?,
            methods: Vec::new(),
            paths: Vec::new(),
            private: false,
            ca: None,
            client: None,
            connect_timeout: None,
            request_timeout: None,
            idle_timeout: None,
        })
    }
}

/// A request as it is held against the grants.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub method: &'a str,
    pub url: &'a Url,
    /// As it goes over the wire: [`Url`] resolves dots, and a server may not.
    pub path: &'a str,
}

impl HttpGrant {
    /// Whether it allows this method and path of an origin that it allows.
    #[must_use]
    pub fn allows(&self, wanted: Wanted<'_>) -> bool {
        self.origin.allows(wanted.url)
            && (self.methods.is_empty() || self.methods.iter().any(|it| it == wanted.method))
            && (self.paths.is_empty()
                || !is_ambiguous(wanted.path)
                    && self.paths.iter().any(|prefix| is_below(wanted.path, prefix)))
    }

    pub(in crate::plugin) fn policy(&self) -> ConnectionPolicy {
        ConnectionPolicy {
            private: self.private,
            link_local: self.private && self.origin.is_exact(),
            ca: self.ca.clone(),
            client: self.client.clone(),
            connect_timeout: self.connect_timeout.unwrap_or(CONNECT_WITHIN),
        }
    }
}

impl fmt::Display for HttpGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, what: &str, items: &[String]| {
            if items.is_empty() { Ok(()) } else { write!(f, ", {what} {}", items.join(" ")) }
        };
        write!(f, "{}", self.origin)?;
        list(f, "methods", &self.methods)?;
        list(f, "paths", &self.paths)?;
        if self.private {
            f.write_str(", private addresses too")?;
        }
        if let Some(ca) = &self.ca {
            write!(f, ", certificates of {ca}")?;
        }
        if let Some(client) = &self.client {
            write!(f, ", as the client of {}", client.certificate)?;
        }
        Ok(())
    }
}

fn is_below(path: &str, prefix: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// How often a path is decoded until it stays as it is: what a chain of proxies may do to it.
const DECODINGS_MAX: usize = 3;

/// Whether somebody on the way may read another path in it: dots that climb, slashes that are
/// encoded or backwards, characters in too many bytes. Held against a prefix, such a path is refused.
#[must_use]
pub(super) fn is_ambiguous(path: &str) -> bool {
    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..=DECODINGS_MAX {
        let climbs = bytes.split(|byte| *byte == b'/').any(|segment| {
            // Some servers cut what follows a semicolon before they resolve the dots.
            let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
            matches!(name, b"." | b"..")
        });
        let odd = bytes.iter().any(|byte| matches!(byte, b'\\' | 0..=31 | 127 | 0xc0 | 0xc1));
        if climbs || odd {
            return true;
        }
        let decoded: Vec<u8> = percent_encoding::percent_decode(&bytes).collect();
        if decoded == bytes {
            return false;
        }
        let slashes = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'/').count();
        if slashes(&decoded) != slashes(&bytes) {
            return true;
        }
        bytes = decoded;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(methods: &[&str], paths: &[&str]) -> HttpGrant {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        HttpGrant {
            methods: owned(methods),
            paths: owned(paths),
            ..HttpGrant::from_str("https://a.example").unwrap()
        }
    }

    fn allows(grant: &HttpGrant, method: &str, path: &str) -> bool {
        let url = Url::parse(&format!("https://a.example{path}")).unwrap();
        grant.allows(Wanted { method, url: &url, path })
    }

    #[test]
    fn methods_are_compared_to_the_letter() {
        let only_put = grant(&["PUT", "GET"], &[]);
        assert!(allows(&only_put, "PUT", "/") && allows(&only_put, "GET", "/"));
        for other in ["POST", "put", "Put", "PUTS", ""] {
            assert!(!allows(&only_put, other, "/"), "{other}");
        }
        assert!(allows(&grant(&[], &[]), "ANY", "/"));
    }

    #[test]
    fn a_prefix_ends_where_a_segment_does() {
        let below = grant(&[], &["/v1/"]);
        for path in ["/v1/", "/v1/a", "/v1/a/b", "/v1/a.b", "/v1/...", "/v1/a%20b", "/v1//a"] {
            assert!(allows(&below, "GET", path), "{path}");
        }
        for path in ["/", "/v1", "/v10/", "/V1/a", "/v2/", "//v1/a", "/x/v1/", "/%761/a"] {
            assert!(!allows(&below, "GET", path), "{path}");
        }
        let itself = grant(&[], &["/v1", "/health"]);
        for path in ["/v1", "/v1/a", "/health"] {
            assert!(allows(&itself, "GET", path), "{path}");
        }
        assert!(!allows(&itself, "GET", "/v10") && !allows(&itself, "GET", "/healthy"));
    }

    #[test]
    fn a_path_that_a_server_may_read_otherwise_is_below_no_prefix() {
        let below = grant(&[], &["/v1/"]);
        for path in [
            "/v1/../admin",
            "/v1/..",
            "/v1/.",
            "/v1/./x/../../admin",
            "/v1/%2e%2e/admin",
            "/v1/.%2E/admin",
            "/v1/%252e%252e/admin",
            "/v1/%25252e./admin",
            "/v1/%2525252525252e./admin",
            "/v1/..%2fadmin",
            "/v1/x%2f..%2f..%2fadmin",
            "/v1/..%5cadmin",
            "/v1/..\\admin",
            "/v1/a\\b",
            "/v1/a%2Fb",
            "/v1/..;/admin",
            "/v1/..;x=y/admin",
            "/v1/..%3b/admin",
            "/v1/a%00b",
            "/v1/a%0d%0ab",
            "/v1/%c0%ae%c0%ae/admin",
        ] {
            assert!(!allows(&below, "GET", path), "{path}");
            assert!(
                allows(&grant(&[], &[]), "GET", path),
                "without a prefix it is the guest's: {path}"
            );
        }
    }
}
