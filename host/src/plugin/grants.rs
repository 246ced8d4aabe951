//! What a manifest allows a plugin. Nothing is granted by default, and what is unclear is refused.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use url::{Host, Url};

use crate::domain::{EventType, Network, NetworkPattern};

/// The manifest's `[grants]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    pub http: Vec<HttpGrant>,
    pub secrets: Vec<SecretGrant>,
    pub topics: Vec<TopicPattern>,
    pub networks: Vec<NetworkPattern>,
    pub transitions: Vec<TransitionGrant>,
    pub follow_ups: Vec<EventType>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretGrant {
    pub name: String,
    /// Whether the guest gets the value itself, and not a placeholder.
    pub expose: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransitionGrant {
    Broadcasted,
    Failed,
}

impl Grants {
    /// The grant that allows a request to this URL, if any does.
    #[must_use]
    pub fn http_for(&self, url: &Url) -> Option<&HttpGrant> {
        self.http.iter().find(|grant| grant.allows(url))
    }

    #[must_use]
    pub fn secret(&self, name: &str) -> Option<&SecretGrant> {
        self.secrets.iter().find(|grant| grant.name == name)
    }

    #[must_use]
    pub fn topic(&self, topic: &str) -> bool {
        self.topics.iter().any(|pattern| pattern.matches(topic))
    }

    #[must_use]
    pub fn network(&self, network: &Network) -> bool {
        self.networks.iter().any(|pattern| pattern.matches(network))
    }
}

/// One origin, or all names below one suffix: `https://api.partner.example`,
/// `https://*.partner.example:8443`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGrant {
    scheme: Scheme,
    host: HostPattern,
    port: u16,
    /// Whether addresses that are not on the public internet may be dialled.
    pub private: bool,
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

impl FromStr for HttpGrant {
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
            && !authority.ends_with('/');
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
        Ok(Self { scheme, host, port, private: false })
    }
}

impl HttpGrant {
    fn allows(&self, url: &Url) -> bool {
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
}

impl fmt::Display for HttpGrant {
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

/// The host without a trailing dot: `example.com.` names the same host as `example.com`.
fn canonical_host(url: &Url) -> Option<Host<String>> {
    match url.host()? {
        Host::Domain(name) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            (!name.is_empty()).then(|| Host::Domain(name.to_owned()))
        }
        Host::Ipv4(address) => Some(Host::Ipv4(address)),
        Host::Ipv6(address) => Some(Host::Ipv6(address)),
    }
}

/// Whether an address is on the public internet. What is reserved, unclear or carries another
/// address inside (v4-mapped, NAT64, 6to4, Teredo) is judged by what it leads to, or is not.
#[must_use]
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_documentation()
                || v4.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (18..20).contains(&b)))
        }
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            let embedded = |high: u16, low: u16| {
                let [a, b] = high.to_be_bytes();
                let [c, d] = low.to_be_bytes();
                is_public(IpAddr::from([a, b, c, d]))
            };
            if let Some(v4) = v6.to_ipv4_mapped() {
                return is_public(IpAddr::V4(v4));
            }
            match segments {
                [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
                    embedded(high, low)
                }
                // Global unicast is 2000::/3; of it, Teredo, documentation and ORCHID lead nowhere.
                [first, second, ..] => {
                    (0x2000..0x4000).contains(&first)
                        && !(first == 0x2001 && (second < 0x0200 || second == 0x0db8))
                        && first != 0x3fff
                }
            }
        }
    }
}

/// A topic, or all topics below a prefix: `tidegate.*` allows `tidegate.a` and `tidegate.a.b`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPattern(String);

impl TopicPattern {
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => topic.len() > prefix.len() && topic.starts_with(prefix),
            None => topic == self.0,
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TopicPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let topic = text.strip_suffix(".*").unwrap_or(text);
        let token = |token: &str| {
            !token.is_empty()
                && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        };
        if topic.split('.').all(token) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is no topic: write it as \"tidegate.events\" or \"tidegate.*\""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(grant: &str, url: &str) -> bool {
        grant.parse::<HttpGrant>().unwrap().allows(&Url::parse(url).unwrap())
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
        ] {
            assert!(bad.parse::<HttpGrant>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_public_addresses_are_public() {
        for public in
            ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for other in [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "192.0.2.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
            "::127.0.0.1",
        ] {
            assert!(!is_public(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn a_topic_pattern_matches_whole_tokens() {
        let pattern: TopicPattern = "tidegate.*".parse().unwrap();
        assert!(pattern.matches("tidegate.a.b"));
        assert!(!pattern.matches("tidegate."));
        assert!(!pattern.matches("tidegatex.a"));
        for bad in ["*", "", "a..b", "a.*.b", "a*", "a b", "a.>"] {
            assert!(bad.parse::<TopicPattern>().is_err(), "{bad}");
        }
    }
}
