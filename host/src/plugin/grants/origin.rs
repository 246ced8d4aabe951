//! Where a request may go: scheme, host and port, compared in their canonical forms.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

/// One origin, or all names below one suffix: `https://api.partner.example`,
/// `https://*.partner.example:8443`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    host: HostPattern,
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    /// In the canonical form of the URL standard: lower case, punycode, numeric addresses as such.
    Exact(Host<String>),
    /// `*.suffix`: at least one label in front. Kept with its leading dot.
    Below(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no origin: {rule}; write it as \"https://api.partner.example\"")]
pub struct GrantError {
    given: String,
    rule: &'static str,
}

impl FromStr for Origin {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let error = |rule| GrantError { given: text.to_owned(), rule };
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            _ => return Err(error("it begins with http:// or https://")),
        };
        let (wildcard, authority) = match rest.strip_prefix("*.") {
            Some(suffix) => (true, suffix),
            None => (false, rest),
        };
        if authority.contains('*') {
            return Err(error("a * stands only for the first labels, as in https://*.example.com"));
        }
        let url = Url::parse(&format!("{}://{authority}", scheme.as_str()))
            .map_err(|_| error("the host is not valid"))?;
        let only_origin = url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && !authority.contains(['@', '/', '\\', '?', '#']);
        if !only_origin {
            return Err(error("it has a scheme, a host and a port, and nothing else"));
        }
        let host = canonical_host(&url).ok_or_else(|| error("it has no host"))?;
        let host = match (wildcard, host) {
            (false, host) => HostPattern::Exact(host),
            (true, Host::Domain(name)) if name.contains('.') => {
                HostPattern::Below(format!(".{name}"))
            }
            (true, _) => return Err(error("a * needs a name of two labels or more behind it")),
        };
        let port = url.port().unwrap_or(scheme.default_port());
        Ok(Self { scheme, host, port })
    }
}

impl Origin {
    #[must_use]
    pub fn allows(&self, url: &Url) -> bool {
        let port = url.port().unwrap_or(self.scheme.default_port());
        if url.scheme() != self.scheme.as_str() || port != self.port {
            return false;
        }
        match (&self.host, canonical_host(url)) {
            (HostPattern::Exact(allowed), Some(host)) => *allowed == host,
            (HostPattern::Below(suffix), Some(Host::Domain(name))) => {
                name.len() > suffix.len() && name.ends_with(suffix.as_str())
            }
            (HostPattern::Below(_), _) | (_, None) => false,
        }
    }

    /// Whether it names one host, and not all below a suffix.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        matches!(self.host, HostPattern::Exact(_))
    }

    /// Host and port, as breakers name a target; none where it names all hosts below a suffix.
    #[must_use]
    pub fn target(&self) -> Option<String> {
        match &self.host {
            HostPattern::Exact(host) => Some(format!("{host}:{}", self.port)),
            HostPattern::Below(_) => None,
        }
    }

    #[must_use]
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// The larger, the fewer hosts it names: of several that allow a request, the narrowest holds.
    pub(super) fn narrowness(&self) -> usize {
        match &self.host {
            HostPattern::Exact(_) => usize::MAX,
            HostPattern::Below(suffix) => suffix.len(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.as_str())?;
        match &self.host {
            HostPattern::Exact(host) => write!(f, "{host}")?,
            HostPattern::Below(suffix) => write!(f, "*{suffix}")?,
        }
        if self.port != self.scheme.default_port() {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

/// The host without a trailing dot: `example.com.` names the same host as `example.com`. None for a
/// name with an empty label: `127.0.0..` is a name, and one dot less an address.
pub(in crate::plugin) fn canonical_host(url: &Url) -> Option<Host<String>> {
    match url.host()? {
        Host::Domain(name) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            name.split('.').all(|label| !label.is_empty()).then(|| Host::Domain(name.to_owned()))
        }
        Host::Ipv4(address) => Some(Host::Ipv4(address)),
        Host::Ipv6(address) => Some(Host::Ipv6(address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(grant: &str, url: &str) -> bool {
        grant.parse::<Origin>().unwrap().allows(&Url::parse(url).unwrap())
    }

    #[test]
    fn a_grant_allows_its_own_origin_in_every_spelling() {
        let grant = "https://api.partner.example";
        for url in [
            "https://api.partner.example/v1?x=1",
            "https://API.Partner.Example/",
            "https://api.partner.example:443/",
            "https://api.partner.example./",
            "https://user@api.partner.example/",
        ] {
            assert!(allows(grant, url), "{url}");
        }
        for url in [
            "http://api.partner.example/",
            "https://api.partner.example:8443/",
            "https://api.partner.example.evil.com/",
            "https://evilapi.partner.example/",
            "https://api.partner.example@evil.com/",
            "https://partner.example/",
        ] {
            assert!(!allows(grant, url), "{url}");
        }
    }

    #[test]
    fn a_wildcard_needs_a_dot_and_a_label() {
        let grant = "https://*.example.com";
        assert!(allows(grant, "https://a.example.com/"));
        assert!(allows(grant, "https://a.b.example.com/"));
        assert!(!allows(grant, "https://example.com/"));
        assert!(!allows(grant, "https://evilexample.com/"));
        assert!(!allows(grant, "https://a.example.com.evil.com/"));
    }

    #[test]
    fn numeric_spellings_are_one_address() {
        let grant = "http://127.0.0.1:8080";
        for url in ["http://2130706433:8080/", "http://0x7f.1:8080/", "http://127.1:8080/"] {
            assert!(allows(grant, url), "{url}");
        }
        assert!(!allows("http://*.0.0.1.example:80", "http://127.0.0.1/"));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for bad in [
            "api.partner.example",
            "ftp://a.b",
            "https://",
            "https://a.b/path",
            "https://a.b/",
            "https://a.b?x",
            "https://u:p@a.b",
            "https://*",
            "https://*.com",
            "https://a.*.b",
            "https://192.168.1.*",
            "https://*.1.2.3.4",
            "https://a..b",
            "http://127.0.0..:8080",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_compared_as_the_wire_spells_it() {
        let grant = "https://xn--mller-kva.example";
        for url in [
            "https://m\u{fc}ller.example/",
            "https://M\u{dc}LLER.example/",
            "https://mu\u{308}ller.example/",
        ] {
            assert!(allows(grant, url), "{url}");
        }
        assert!(allows("https://m\u{fc}ller.example", "https://xn--mller-kva.example/"));
        assert!(allows("https://*.b\u{fc}cher.example", "https://a.xn--bcher-kva.example/"));
        assert!(!allows("https://paypal.example", "https://p\u{430}ypal.example/"));
        // Fullwidth letters and an ideographic full stop are what a browser makes of them.
        assert!(allows("https://a.example", "https://\u{ff41}\u{3002}example/"));
    }
}
