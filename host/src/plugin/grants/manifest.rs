//! `[grants]` as it is written in a manifest, and the checks of it.

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::super::manifest::{duration, parsed_list};
use super::http::is_ambiguous;
use super::{
    ClientIdentity, Grants, HttpGrant, Origin, PemSource, SecretGrant, TopicPattern,
    TransitionGrant,
};
use crate::domain::{EventType, NetworkPattern};

/// Methods, paths and hosts that one grant may list.
const LIST_MAX: usize = 64;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(in crate::plugin) struct RawGrants {
    #[serde(default)]
    http: Vec<TextOr<RawHttpGrant>>,
    #[serde(default)]
    secrets: Vec<TextOr<RawSecretGrant>>,
    #[serde(default, deserialize_with = "parsed_list")]
    topics: Vec<TopicPattern>,
    #[serde(default, deserialize_with = "parsed_list")]
    networks: Vec<NetworkPattern>,
    #[serde(default)]
    transitions: Vec<RawTransition>,
    #[serde(default, deserialize_with = "parsed_list")]
    follow_ups: Vec<EventType>,
}

/// What is mostly a text, and a table where it needs more.
enum TextOr<T> {
    Text(String),
    Table(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not `untagged`: that would hide which key of the table is wrong.
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = TextOr<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a table")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(TextOr::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(TextOr::Table)
            }
        }

        deserializer.deserialize_any(Either(PhantomData))
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawHttpGrant {
    origin: String,
    #[serde(default)]
    methods: Vec<String>,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    private: bool,
    ca: Option<TextOr<RawSecretName>>,
    client_certificate: Option<TextOr<RawSecretName>>,
    client_key: Option<TextOr<RawSecretName>>,
    #[serde(default, deserialize_with = "duration")]
    connect_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    request_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    idle_timeout: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSecretName {
    secret: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawSecretGrant {
    name: String,
    #[serde(default)]
    expose: bool,
    #[serde(default)]
    hosts: Vec<String>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum RawTransition {
    Broadcasted,
    Failed,
}

impl RawGrants {
    /// `folder`: where the manifest lies; what it names by relative paths lies there too.
    pub(in crate::plugin) fn check(self, folder: &Path) -> Result<Grants, String> {
        let transitions = self.transitions.into_iter().map(|transition| match transition {
            RawTransition::Broadcasted => TransitionGrant::Broadcasted,
            RawTransition::Failed => TransitionGrant::Failed,
        });
        Ok(Grants {
            http: check_http(self.http, folder)?,
            secrets: check_secrets(self.secrets)?,
            topics: self.topics,
            networks: self.networks,
            transitions: transitions.collect(),
            follow_ups: self.follow_ups,
        })
    }
}

fn check_http(raw: Vec<TextOr<RawHttpGrant>>, folder: &Path) -> Result<Vec<HttpGrant>, String> {
    let mut grants: Vec<HttpGrant> = Vec::with_capacity(raw.len());
    for raw in raw {
        let raw = match raw {
            TextOr::Text(origin) => RawHttpGrant { origin, ..RawHttpGrant::default() },
            TextOr::Table(table) => table,
        };
        let grant = raw.check(folder).map_err(|error| format!("grants.http: {error}"))?;
        let same = grants.iter().filter(|other| other.origin == grant.origin);
        for other in same {
            let origin = &grant.origin;
            if other.methods == grant.methods && other.paths == grant.paths {
                return Err(format!("grants.http lists {origin} twice: remove one"));
            }
            // It would be left to their order how a request that both allow is sent.
            if other.policy() != grant.policy() {
                return Err(format!(
                    "grants.http lists {origin} twice, with another private, ca, client \
                     certificate or connect_timeout: make them the same"
                ));
            }
        }
        grants.push(grant);
    }
    Ok(grants)
}

impl RawHttpGrant {
    fn check(self, folder: &Path) -> Result<HttpGrant, String> {
        let mut grant: HttpGrant = self.origin.parse().map_err(|e| format!("{e}"))?;
        let origin = grant.origin.to_string();
        if self.methods.len() > LIST_MAX || self.paths.len() > LIST_MAX {
            return Err(format!("{origin} lists more than {LIST_MAX} methods or paths"));
        }
        for method in &self.methods {
            check_method(method).map_err(|rule| format!("{origin}: {method:?} {rule}"))?;
        }
        for path in &self.paths {
            check_path(path).map_err(|rule| format!("{origin}: {path:?} {rule}"))?;
        }
        grant.methods = self.methods;
        grant.paths = self.paths;
        grant.private = self.private;
        let pem = |source: Option<TextOr<RawSecretName>>| source.map(|it| pem_source(it, folder));
        grant.ca = pem(self.ca);
        grant.client = match (pem(self.client_certificate), pem(self.client_key)) {
            (None, None) => None,
            (Some(_), Some(PemSource::Inline(_))) => {
                return Err(format!(
                    "{origin}: a key does not belong into a manifest: name its file, or a secret"
                ));
            }
            (Some(certificate), Some(key)) => Some(ClientIdentity { certificate, key }),
            (Some(_), None) | (None, Some(_)) => {
                return Err(format!(
                    "{origin} needs client_certificate and client_key, or neither"
                ));
            }
        };
        if !grant.origin.is_https() && (grant.ca.is_some() || grant.client.is_some()) {
            return Err(format!("{origin} has no certificates: only https:// has"));
        }
        for (name, given) in [
            ("connect_timeout", self.connect_timeout),
            ("request_timeout", self.request_timeout),
            ("idle_timeout", self.idle_timeout),
        ] {
            if given
                .is_some_and(|it| it.is_zero() || it > super::super::limits::Limits::TIMEOUT_MAX)
            {
                return Err(format!("{origin}: {name} must be between 1ms and 10m"));
            }
        }
        grant.connect_timeout = self.connect_timeout;
        grant.request_timeout = self.request_timeout;
        grant.idle_timeout = self.idle_timeout;
        Ok(grant)
    }
}

fn check_method(method: &str) -> Result<(), &'static str> {
    if matches!(method, "CONNECT" | "TRACE") {
        return Err("is never sent");
    }
    let fits = (1..=20).contains(&method.len())
        && method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    if fits { Ok(()) } else { Err("is no method: use A-Z, such as \"PUT\"") }
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') || path.len() > 1_024 {
        return Err("is no path: it begins with /, such as \"/v1/\"");
    }
    let plain = path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'*'));
    if !plain || is_ambiguous(path) {
        return Err("is no plain path: write it as the request does, without dots, ? or *");
    }
    Ok(())
}

fn pem_source(source: TextOr<RawSecretName>, folder: &Path) -> PemSource {
    match source {
        TextOr::Table(RawSecretName { secret }) => PemSource::Secret(secret),
        TextOr::Text(text) if text.trim_start().starts_with("-----BEGIN ") => {
            PemSource::Inline(text)
        }
        TextOr::Text(path) => PemSource::File(folder.join(path)),
    }
}

fn check_secrets(raw: Vec<TextOr<RawSecretGrant>>) -> Result<Vec<SecretGrant>, String> {
    let mut secrets: Vec<SecretGrant> = Vec::with_capacity(raw.len());
    for grant in raw {
        let RawSecretGrant { name, expose, hosts } = match grant {
            TextOr::Text(name) => RawSecretGrant { name, ..RawSecretGrant::default() },
            TextOr::Table(table) => table,
        };
        if secrets.iter().any(|other| other.name == name) {
            return Err(format!("grants.secrets lists {name} twice: remove one"));
        }
        if expose && !hosts.is_empty() {
            return Err(format!(
                "grants.secrets: {name} has hosts beside expose = true: who has the value may send \
                 it anywhere; remove one"
            ));
        }
        if hosts.len() > LIST_MAX {
            return Err(format!("grants.secrets: {name} lists more than {LIST_MAX} hosts"));
        }
        let hosts = hosts
            .iter()
            .map(|host| host.parse::<Origin>().map_err(|e| format!("grants.secrets: {name}: {e}")))
            .collect::<Result<_, _>>()?;
        secrets.push(SecretGrant { name, expose, hosts });
    }
    Ok(secrets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::Manifest;

    fn parse(grants: &str) -> Result<Grants, String> {
        let text = format!("name = \"a\"\nhandles = [\"A\"]\n[grants]\n{grants}\n");
        let parsed = Manifest::parse(&text, Path::new("plugins/a/plugin.toml"));
        parsed.map(|manifest| manifest.grants).map_err(|error| error.to_string())
    }

    #[test]
    fn a_grant_is_read_whole() {
        let grants = parse(
            r#"
            secrets = [{ name = "K", hosts = ["https://a.example", "https://*.b.example:8443"] }]
            [[grants.http]]
            origin = "https://a.example"
            methods = ["PUT"]
            paths = ["/v1/"]
            private = true
            ca = "ca.pem"
            client_certificate = "/etc/client.pem"
            client_key = { secret = "CLIENT_KEY" }
            connect_timeout = "1s"
            request_timeout = "2s"
            idle_timeout = "500ms"
            "#,
        )
        .unwrap();
        let client = ClientIdentity {
            certificate: PemSource::File("/etc/client.pem".into()),
            key: PemSource::Secret("CLIENT_KEY".into()),
        };
        assert_eq!(
            grants.http,
            [HttpGrant {
                origin: "https://a.example".parse().unwrap(),
                methods: vec!["PUT".into()],
                paths: vec!["/v1/".into()],
                private: true,
                ca: Some(PemSource::File("plugins/a/ca.pem".into())),
                client: Some(client),
                connect_timeout: Some(Duration::from_secs(1)),
                request_timeout: Some(Duration::from_secs(2)),
                idle_timeout: Some(Duration::from_millis(500)),
            }]
        );
        assert_eq!(grants.secrets[0].hosts[1].to_string(), "https://*.b.example:8443");
        assert!(
            grants.secrets[0].may_go_to(&"https://x.b.example:8443/".parse().unwrap())
                && !grants.secrets[0].may_go_to(&"https://x.b.example/".parse().unwrap())
        );
    }

    #[test]
    fn a_certificate_may_stand_in_the_manifest_and_a_key_may_not() {
        let pem = "\"\"\"\n-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n\"\"\"";
        let grants =
            parse(&format!("[[grants.http]]\norigin = \"https://a.example\"\nca = {pem}\n"));
        assert!(matches!(grants.unwrap().http[0].ca, Some(PemSource::Inline(_))));
        let error = parse(&format!(
            "[[grants.http]]\norigin = \"https://a.example\"\nclient_certificate = \"c.pem\"\n\
             client_key = {pem}\n"
        ));
        assert!(error.unwrap_err().contains("does not belong into a manifest"));
    }

    #[test]
    fn a_mistake_is_named() {
        let http = |table: &str| format!("http = [{{ origin = \"https://a.example\", {table} }}]");
        for (text, message) in [
            (http("colour = 1"), "unknown field `colour`"),
            (http("methods = [\"put\"]"), "\"put\" is no method"),
            (http("methods = [\"CONNECT\"]"), "\"CONNECT\" is never sent"),
            (http("methods = [\"TRACE\"]"), "\"TRACE\" is never sent"),
            (http("paths = [\"v1\"]"), "\"v1\" is no path"),
            (http("paths = [\"/v1/../\"]"), "is no plain path"),
            (http("paths = [\"/v1/*\"]"), "is no plain path"),
            (http("paths = [\"/v1?x\"]"), "is no plain path"),
            (http("client_key = \"k.pem\""), "client_certificate and client_key, or neither"),
            (http("connect_timeout = \"0s\""), "connect_timeout must be"),
            (http("request_timeout = \"1h\""), "request_timeout must be"),
            (http("idle_timeout = 3"), "idle_timeout"),
            (
                "http = [{ origin = \"http://a.example\", ca = \"a.pem\" }]".into(),
                "http://a.example has no certificates",
            ),
            ("http = [3]".into(), "a text, or a table"),
            (
                "http = [\"https://a.example\", { origin = \"https://A.example:443\" }]".into(),
                "grants.http lists https://a.example twice: remove one",
            ),
            (
                "http = [\"https://a.example\", { origin = \"https://a.example\", private = true, \
                 methods = [\"GET\"] }]"
                    .into(),
                "make them the same",
            ),
            (
                "secrets = [{ name = \"K\", hosts = [\"a.example\"] }]".into(),
                "grants.secrets: K: \"a.example\" is no origin",
            ),
            (
                "secrets = [{ name = \"K\", expose = true, hosts = [\"https://a.example\"] }]"
                    .into(),
                "K has hosts beside expose = true",
            ),
            ("secrets = [{ name = \"K\", host = [] }]".into(), "unknown field `host`"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(message), "{error}\ndoes not contain {message}");
        }
    }
}
