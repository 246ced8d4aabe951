//! Who asks: bearer tokens, of which only digests are kept.
//!
//! A token is 32 random bytes, so one round of SHA-256 is enough to store it by: there is nothing
//! to guess. Digests are compared in constant time, and all of them each time, so that the time of
//! an answer says nothing.

use std::fmt;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::AUTHORIZATION;
use http::request::Parts;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::problem::{Problem, ProblemKind};
use super::state::Shared;

/// What a token may do. Roles do not contain each other: a token has each role that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Hand in withdrawals.
    Submit,
    /// Look at withdrawals and events.
    Read,
    /// Repair: replay events. Approve what asks for more.
    Operate,
    /// Deploy releases of plugins, and roll them back.
    Deploy,
    /// Approve withdrawals that the policies hold, and reject them.
    Approve,
}

impl Role {
    pub const ALL: [Self; 5] =
        [Self::Submit, Self::Read, Self::Operate, Self::Deploy, Self::Approve];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Deploy => "deploy",
            Self::Approve => "approve",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no role; the roles are submit, read, operate, deploy and approve")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| UnknownRole(text.chars().take(40).collect()))
    }
}

/// One caller, as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Who it is: the scope of its idempotency keys, and the name in the history of replays.
    pub name: String,
    /// SHA-256 of the token's text.
    pub sha256: [u8; 32],
    pub roles: Vec<Role>,
}

/// All callers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens(Vec<Token>);

/// Tokens of which one would never be found, or could stand for another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokensError {
    #[error("two tokens are named {0:?}: give each caller a name of its own")]
    NameTwice(String),
    #[error("the tokens {0:?} and {1:?} have the same sha256: make a token for each caller")]
    DigestTwice(String, String),
}

impl Tokens {
    /// # Errors
    /// See [`TokensError`].
    pub fn new(tokens: Vec<Token>) -> Result<Self, TokensError> {
        for (i, token) in tokens.iter().enumerate() {
            for earlier in &tokens[..i] {
                if earlier.name == token.name {
                    return Err(TokensError::NameTwice(token.name.clone()));
                }
                if earlier.sha256 == token.sha256 {
                    let names = (earlier.name.clone(), token.name.clone());
                    return Err(TokensError::DigestTwice(names.0, names.1));
                }
            }
        }
        Ok(Self(tokens))
    }

    #[must_use]
    pub fn as_slice(&self) -> &[Token] {
        &self.0
    }

    /// The caller of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Token> {
        self.0.iter().find(|token| token.name == name)
    }

    fn find(&self, presented: &str) -> Option<&Token> {
        let digest = token_digest(presented);
        let mut found = None;
        for token in &self.0 {
            // No early end: see above.
            if bool::from(token.sha256.ct_eq(&digest)) {
                found = Some(token);
            }
        }
        found
    }
}

/// What is stored of a token.
#[must_use]
pub fn token_digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Nothing: anyone may call it.
    Open,
    Needs(Role),
}

/// Who made the request. There is one on every route that is not open.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) name: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| unauthenticated(CHALLENGE))
    }
}

const CHALLENGE: &str = r#"Bearer realm="tidegate""#;
const CHALLENGE_INVALID: &str = r#"Bearer realm="tidegate", error="invalid_token""#;
const CHALLENGE_SCOPE: &str = r#"Bearer realm="tidegate", error="insufficient_scope""#;

fn unauthenticated(challenge: &'static str) -> Problem {
    let detail = "Send the header `Authorization: Bearer <token>` with a token of this host.";
    Problem {
        www_authenticate: Some(challenge),
        ..Problem::new(ProblemKind::Unauthenticated, detail)
    }
}

/// Lets a request pass whose token has the role. Runs before anything of the request is looked at.
pub(super) async fn require(
    State((shared, role)): State<(Shared, Role)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let presented = bearer(&request)?;
    let token = shared.api.tokens.find(presented).ok_or(unauthenticated(CHALLENGE_INVALID))?;
    if !token.roles.contains(&role) {
        let detail = format!("It needs the role {role}; the token {:?} lacks it.", token.name);
        return Err(Problem {
            www_authenticate: Some(CHALLENGE_SCOPE),
            ..Problem::new(ProblemKind::Forbidden, detail)
        });
    }
    let caller = Caller { name: token.name.clone() };
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

fn bearer(request: &Request) -> Result<&str, Problem> {
    let mut values = request.headers().get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(unauthenticated(CHALLENGE));
    };
    let text = value.to_str().map_err(|_| unauthenticated(CHALLENGE))?;
    match text.split_once(' ') {
        // The scheme's name is case-insensitive (RFC 9110, section 11.1).
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        Some(_) | None => Err(unauthenticated(CHALLENGE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str, text: &str) -> Token {
        Token { name: name.into(), sha256: token_digest(text), roles: vec![Role::Read] }
    }

    #[test]
    fn a_token_is_found_by_its_text_only() {
        let tokens = Tokens::new(vec![token("a", "one"), token("b", "two")]).unwrap();
        assert_eq!(tokens.find("two").map(|t| t.name.as_str()), Some("b"));
        for wrong in ["", "tw", "twoo", "TWO", "b"] {
            assert_eq!(tokens.find(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn two_callers_never_share_a_name_or_a_token() {
        let twice = Tokens::new(vec![token("a", "one"), token("a", "two")]);
        assert_eq!(twice, Err(TokensError::NameTwice("a".into())));
        let twice = Tokens::new(vec![token("a", "one"), token("b", "one")]);
        assert_eq!(twice, Err(TokensError::DigestTwice("a".into(), "b".into())));
    }

    #[test]
    fn roles_are_read_as_they_are_written() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert!("Submit".parse::<Role>().is_err());
    }
}
