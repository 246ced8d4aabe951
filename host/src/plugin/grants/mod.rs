//! What a manifest allows a plugin. Nothing is granted by default, and what is unclear is refused.

mod address;
mod http;
mod manifest;
mod origin;
mod topic;

use url::Url;

use crate::domain::{EventType, Network, NetworkPattern};

pub use http::{ClientIdentity, HttpGrant, PemSource, Wanted};
pub use origin::{GrantError, Origin};
pub use topic::TopicPattern;

pub(super) use address::{is_link_local, is_public};
pub(super) use http::ConnectionPolicy;
pub(super) use manifest::RawGrants;
pub(super) use origin::canonical_host;

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
    /// Where its value may go in a request; empty for everywhere that `http` allows.
    pub hosts: Vec<Origin>,
}

impl SecretGrant {
    /// Whether its value may be part of a request to this URL, which `http` allows.
    #[must_use]
    pub fn may_go_to(&self, url: &Url) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|origin| origin.allows(url))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransitionGrant {
    Broadcasted,
    Failed,
}

impl Grants {
    /// The place in `http` of the grant that allows this request: the narrowest origin's, of
    /// several.
    ///
    /// # Errors
    /// What to put into the manifest, so that it were allowed.
    pub fn admit(&self, wanted: Wanted<'_>) -> Result<usize, String> {
        let allowing = self.http.iter().enumerate().filter(|(_, grant)| grant.allows(wanted));
        // `max_by_key` answers the last of equals, and the first in the manifest reads better.
        let narrowest = allowing.rev().max_by_key(|(_, grant)| grant.origin.narrowness());
        narrowest.map(|(at, _)| at).ok_or_else(|| self.missing_line(wanted))
    }

    /// The line of `grants.http` that a denied request lacks.
    fn missing_line(&self, wanted: Wanted<'_>) -> String {
        let origin = wanted.url.origin().ascii_serialization();
        let same: Vec<&HttpGrant> =
            self.http.iter().filter(|grant| grant.origin.allows(wanted.url)).collect();
        if same.is_empty() {
            return format!("{origin:?}");
        }
        let mut line = format!("{{ origin = {origin:?}");
        if same.iter().any(|grant| !grant.methods.is_empty()) {
            line += &format!(", methods = [{:?}]", wanted.method);
        }
        if same.iter().any(|grant| !grant.paths.is_empty()) && !http::is_ambiguous(wanted.path) {
            line += &format!(", paths = [{:?}]", wanted.path);
        }
        if same.iter().any(|grant| grant.private) {
            line += ", private = true";
        }
        line + " }"
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

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(lines: &[&str], method: &str, target: &str) -> Result<usize, String> {
        let text =
            format!("name = \"a\"\nhandles = [\"A\"]\n[grants]\nhttp = [{}]\n", lines.join(", "));
        let manifest =
            crate::plugin::Manifest::parse(&text, std::path::Path::new("plugin.toml")).unwrap();
        let url = Url::parse(target).unwrap();
        let path = url.path().to_owned();
        manifest.grants.admit(Wanted { method, url: &url, path: &path })
    }

    #[test]
    fn several_grants_of_an_origin_add_up_and_do_not_mix() {
        let lines = [
            r#"{ origin = "https://a.example", methods = ["GET"] }"#,
            r#"{ origin = "https://a.example", methods = ["PUT"], paths = ["/v1/"] }"#,
        ];
        assert_eq!(admit(&lines, "GET", "https://a.example/anything"), Ok(0));
        assert_eq!(admit(&lines, "PUT", "https://a.example/v1/x"), Ok(1));
        assert!(admit(&lines, "PUT", "https://a.example/anything").is_err());
        assert!(admit(&lines, "DELETE", "https://a.example/v1/x").is_err());
    }

    #[test]
    fn the_narrowest_origin_holds() {
        let lines = [
            r#""https://*.example.com""#,
            r#"{ origin = "https://*.eu.example.com", private = true }"#,
            r#"{ origin = "https://pay.eu.example.com", methods = ["PUT"] }"#,
        ];
        assert_eq!(admit(&lines, "PUT", "https://pay.eu.example.com/"), Ok(2));
        assert_eq!(admit(&lines, "GET", "https://pay.eu.example.com/"), Ok(1));
        assert_eq!(admit(&lines, "GET", "https://x.example.com/"), Ok(0));
    }

    #[test]
    fn a_denial_is_the_line_that_allows_it() {
        let none: [&str; 0] = [];
        assert_eq!(
            admit(&none, "GET", "https://a.example/v1"),
            Err("\"https://a.example\"".into())
        );
        let lines = [r#"{ origin = "https://a.example", methods = ["GET"], paths = ["/v1/"] }"#];
        let line = admit(&lines, "PUT", "https://a.example/v2/x?q=1").unwrap_err();
        assert_eq!(
            line,
            r#"{ origin = "https://a.example", methods = ["PUT"], paths = ["/v2/x"] }"#
        );
        assert_eq!(admit(&[lines[0], &line], "PUT", "https://a.example/v2/x"), Ok(1));
    }
}
