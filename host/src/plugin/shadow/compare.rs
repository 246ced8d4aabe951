//! In what two doings differ, in words that hold no body, no header's value and no secret.

use std::collections::BTreeSet;

use http::{HeaderName, header};
use serde_json::Value;
use url::Url;

use super::recording::{Asked, Signature};
use crate::domain::{DifferenceKind, NewEvent, Outcome, Receipt, ShadowDifference, Standing};

/// Places that are named of a body; more are counted.
const PLACES_MAX: usize = 5;
/// A larger body is not looked into.
const JSON_BYTES_MAX: usize = 256 << 10;

/// Whose differences the host makes itself, or that another difference explains.
const UNTOLD_HEADERS: [HeaderName; 2] = [header::HOST, header::CONTENT_LENGTH];

/// A request's name: its method and its address, but for the query.
pub(super) fn title(asked: &Asked) -> String {
    let Asked { method, url, .. } = asked;
    format!("{method} {}{}", url.origin().ascii_serialization(), url.path())
}

/// In what the shadow's request is another one. Empty: in nothing.
pub(super) fn request_changes(live: &Asked, shadow: &Asked) -> Vec<String> {
    let mut changes = Vec::new();
    if live.method != shadow.method {
        changes.push(format!("the method is {}", shadow.method));
    }
    if live.url.origin() != shadow.url.origin() {
        changes.push(format!("the host is {}", shadow.url.origin().ascii_serialization()));
    }
    if live.url.path() != shadow.url.path() {
        changes.push(format!("the path is {}", shadow.url.path()));
    }
    changes.extend(query_difference(&live.url, &shadow.url));
    let names: BTreeSet<&str> =
        live.headers.keys().chain(shadow.headers.keys()).map(HeaderName::as_str).collect();
    for name in names.into_iter().filter(|name| !UNTOLD_HEADERS.iter().any(|no| no == name)) {
        let values = |asked: &Asked| -> Vec<Vec<u8>> {
            asked.headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect()
        };
        let (live, shadow) = (values(live), values(shadow));
        let what = match (live.is_empty(), shadow.is_empty()) {
            (true, false) => "is new",
            (false, true) => "is missing",
            _ if live != shadow => "differs",
            _ => continue,
        };
        changes.push(format!("the header {name} {what}"));
    }
    changes.extend(body_difference(&live.body, &shadow.body).map(|it| format!("the body {it}")));
    changes
}

fn query_difference(live: &Url, shadow: &Url) -> Option<String> {
    if live.query() == shadow.query() {
        return None;
    }
    let pairs = |url: &Url| -> Vec<(String, String)> { url.query_pairs().into_owned().collect() };
    let (live, shadow) = (pairs(live), pairs(shadow));
    let names: BTreeSet<&String> = live.iter().chain(&shadow).map(|(name, _)| name).collect();
    let of = |pairs: &[(String, String)], name: &str| -> Vec<String> {
        pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    };
    let names = names.into_iter().filter(|name| of(&live, name) != of(&shadow, name));
    let names: Vec<_> = names.map(String::as_str).collect();
    Some(match names.as_slice() {
        [] => "the query is in another order or spelling".to_owned(),
        names => format!("the query differs in {}", listed(names)),
    })
}

/// The first of them, and how many more there are.
fn listed(names: &[&str]) -> String {
    let told = names[..names.len().min(PLACES_MAX)].join(", ");
    match names.len().saturating_sub(PLACES_MAX) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

/// In what two bodies differ: the places within them, where both are JSON. None: in nothing.
pub(super) fn body_difference(live: &[u8], shadow: &[u8]) -> Option<String> {
    if live == shadow {
        return None;
    }
    let sizes = format!("{} → {} bytes", live.len(), shadow.len());
    let json = |body: &[u8]| -> Option<Value> {
        (body.len() <= JSON_BYTES_MAX).then(|| serde_json::from_slice(body).ok()).flatten()
    };
    let (Some(live), Some(shadow)) = (json(live), json(shadow)) else {
        return Some(format!("differs: {sizes}"));
    };
    let mut places = Vec::new();
    find_places(&live, &shadow, &mut String::new(), &mut places);
    let places: Vec<_> = places.iter().map(String::as_str).collect();
    Some(match places.as_slice() {
        [] => format!("differs in its spelling alone: {sizes}"),
        ["/"] => format!("differs: {sizes}"),
        places => format!("differs at {}", listed(places)),
    })
}

/// The places at which two JSON values differ, as far down as they are alike. As deep as the parser
/// goes, which is not deep.
fn find_places(live: &Value, shadow: &Value, at: &mut String, places: &mut Vec<String>) {
    if live == shadow {
        return;
    }
    let mut below = |name: &str, live: &Value, shadow: &Value| {
        let length = at.len();
        at.push('/');
        at.push_str(name);
        find_places(live, shadow, at, places);
        at.truncate(length);
    };
    // Nothing on one side is null on that side: close enough for whoever looks.
    let nothing = Value::Null;
    match (live, shadow) {
        (Value::Object(live), Value::Object(shadow)) => {
            let names: BTreeSet<&String> = live.keys().chain(shadow.keys()).collect();
            for name in names {
                match (live.get(name), shadow.get(name)) {
                    (Some(Value::Null), None) | (None, Some(Value::Null)) => {
                        below(name, &nothing, &Value::Bool(false));
                    }
                    (live, shadow) => {
                        below(name, live.unwrap_or(&nothing), shadow.unwrap_or(&nothing));
                    }
                }
            }
        }
        (Value::Array(live), Value::Array(shadow)) if live.len() == shadow.len() => {
            for (at, (live, shadow)) in live.iter().zip(shadow).enumerate() {
                below(&at.to_string(), live, shadow);
            }
        }
        _ => places.push(if at.is_empty() { "/".to_owned() } else { at.clone() }),
    }
}

/// The fields of two transactions that differ.
pub(super) fn signature_changes(live: &Signature, shadow: &Signature) -> Vec<&'static str> {
    let (live, shadow) = (&live.request, &shadow.request);
    let fields = [
        ("chain id", live.chain_id == shadow.chain_id),
        ("recipient", live.to == shadow.to),
        ("value", live.value == shadow.value),
        ("data", live.data == shadow.data),
        ("gas limit", live.gas_limit == shadow.gas_limit),
        ("fee", live.max_fee_per_gas == shadow.max_fee_per_gas),
        ("priority fee", live.max_priority_fee_per_gas == shadow.max_priority_fee_per_gas),
        ("wish to replace", live.replace == shadow.replace),
    ];
    fields.into_iter().filter_map(|(name, same)| (!same).then_some(name)).collect()
}

/// In what two ends differ. Reasons are for people, and not compared.
pub(super) fn outcome_differences(live: &Outcome, shadow: &Outcome) -> Vec<ShadowDifference> {
    if let (Outcome::Done(live), Outcome::Done(shadow)) = (live, shadow) {
        return receipt_differences(live, shadow);
    }
    let (before, after) = (verdict(live), verdict(shadow));
    if before == after {
        return Vec::new();
    }
    let text = match reason(shadow) {
        Some(reason) => format!("{before} → {after}: {reason}"),
        None => format!("{before} → {after}"),
    };
    vec![ShadowDifference { kind: DifferenceKind::Verdict, text }]
}

const fn verdict(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done(_) => "done",
        Outcome::Retry { .. } => "retry",
        Outcome::Unknown { .. } => "unknown",
        Outcome::Defer { .. } => "defer",
        Outcome::Reject { .. } => "reject",
        Outcome::Interrupted { .. } => "interrupted",
    }
}

fn reason(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Done(_) | Outcome::Defer { .. } => None,
        Outcome::Retry { reason, .. }
        | Outcome::Unknown { reason }
        | Outcome::Reject { reason }
        | Outcome::Interrupted { reason, .. } => Some(reason),
    }
}

fn receipt_differences(live: &Receipt, shadow: &Receipt) -> Vec<ShadowDifference> {
    let mut found = Vec::new();
    let mut differs = |kind, text| found.push(ShadowDifference { kind, text });
    let standing = |receipt: &Receipt| match &receipt.standing {
        None => "none",
        Some(Standing::Broadcasted) => "broadcasted",
        Some(Standing::Failed { .. }) => "failed",
    };
    if live.standing != shadow.standing {
        let (live, shadow) = (standing(live), standing(shadow));
        let text = if live == shadow {
            format!("the reason of the transition {live} differs")
        } else {
            format!("transition {live} → {shadow}")
        };
        differs(DifferenceKind::Transition, text);
    }
    let types = |receipt: &Receipt| -> Vec<String> {
        receipt.follow_ups.iter().map(|it| it.event_type.to_string()).collect()
    };
    let (before, after) = (types(live), types(shadow));
    if before == after {
        for (live, shadow) in live.follow_ups.iter().zip(&shadow.follow_ups) {
            if let Some(text) = follow_up_difference(live, shadow) {
                differs(DifferenceKind::FollowUps, text);
            }
        }
    } else {
        let shown = |types: &[String]| match types {
            [] => "none".to_owned(),
            types => types.join(", "),
        };
        let text = format!("follow-ups {} → {}", shown(&before), shown(&after));
        differs(DifferenceKind::FollowUps, text);
    }
    let detail = |receipt: &Receipt| receipt.detail.clone().unwrap_or_default();
    if let Some(text) = body_difference(detail(live).as_bytes(), detail(shadow).as_bytes()) {
        differs(DifferenceKind::Detail, format!("the detail {text}"));
    }
    found
}

/// Ids are given by the host, one by one.
fn follow_up_difference(live: &NewEvent, shadow: &NewEvent) -> Option<String> {
    let of = &live.event_type;
    if live.aggregate != shadow.aggregate {
        return Some(format!("the follow-up {of} is about another aggregate"));
    }
    let payload = body_difference(live.payload.as_bytes(), shadow.payload.as_bytes())?;
    Some(format!("the payload of the follow-up {of} {payload}"))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};

    use super::*;
    use crate::domain::Aggregate;

    fn asked(method: &str, url: &str, headers: &[(&'static str, &str)], body: &str) -> Asked {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        Asked {
            method: Method::from_bytes(method.as_bytes()).unwrap(),
            url: url.parse().unwrap(),
            headers: map,
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_request_differs_in_what_is_another_and_no_value_is_told() {
        let live = asked(
            "PUT",
            "https://p.example/a?x=1&token=hidden",
            &[("accept", "json"), ("authorization", "Bearer hidden"), ("content-length", "9")],
            r#"{"amount":"1","to":{"name":"hidden"},"n":[1,2]}"#,
        );
        assert_eq!(request_changes(&live, &live), [""; 0]);
        let shadow = asked(
            "POST",
            "https://p.example/b?x=1&token=other",
            &[("authorization", "Bearer other"), ("x-new", "hidden"), ("content-length", "7")],
            r#"{"amount":"2","to":{"name":"other"},"n":[1,3],"more":null}"#,
        );
        let told = request_changes(&live, &shadow);
        assert_eq!(
            told,
            [
                "the method is POST",
                "the path is /b",
                "the query differs in token",
                "the header accept is missing",
                "the header authorization differs",
                "the header x-new is new",
                "the body differs at /amount, /more, /n/1, /to/name",
            ]
        );
        assert!(!told.concat().contains("hidden"));
    }

    #[test]
    fn bodies_are_told_apart_by_place_by_spelling_and_by_size() {
        for (live, shadow, told) in [
            ("{}", "{}", None),
            (r#"{"a":1}"#, r#"{ "a": 1 }"#, Some("differs in its spelling alone: 7 → 10 bytes")),
            ("1", "[]", Some("differs: 1 → 2 bytes")),
            ("plain", "other", Some("differs: 5 → 5 bytes")),
            (r#"{"a":{"b":1}}"#, r#"{"a":[1]}"#, Some("differs at /a")),
            (
                r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1}"#,
                "{}",
                Some("differs at /a, /b, /c, /d, /e and 2 more"),
            ),
        ] {
            assert_eq!(body_difference(live.as_bytes(), shadow.as_bytes()).as_deref(), told);
        }
    }

    #[test]
    fn ends_differ_in_verdict_transition_follow_ups_and_detail() {
        let order = Aggregate::new("ORDER", "1").unwrap();
        let follow_up = |payload: &str| {
            NewEvent::due_now(order.clone(), "NEXT".parse().unwrap(), payload.to_owned())
        };
        let done = |standing, follow_ups, detail: &str| {
            Outcome::Done(Receipt { detail: Some(detail.to_owned()), standing, follow_ups })
        };
        let live = done(Some(Standing::Broadcasted), vec![follow_up(r#"{"n":1}"#)], r#"{"d":1}"#);
        let again = done(Some(Standing::Broadcasted), vec![follow_up(r#"{"n":1}"#)], r#"{"d":1}"#);
        assert_eq!(outcome_differences(&live, &again), [], "ids are not compared");
        let texts = |outcome: &Outcome| -> Vec<String> {
            let found = outcome_differences(&live, outcome).into_iter();
            found.map(|it| format!("{}: {}", it.kind.as_str(), it.text)).collect()
        };
        let other = done(None, vec![follow_up(r#"{"n":2}"#)], r#"{"d":2}"#);
        assert_eq!(
            texts(&other),
            [
                "transition: transition broadcasted → none",
                "follow-ups: the payload of the follow-up NEXT differs at /n",
                "detail: the detail differs at /d",
            ]
        );
        let none = done(Some(Standing::Broadcasted), Vec::new(), r#"{"d":1}"#);
        assert_eq!(texts(&none), ["follow-ups: follow-ups NEXT → none"]);
        let trapped =
            Outcome::Retry { reason: "the handler trapped: unreachable".into(), after: None };
        assert_eq!(texts(&trapped), ["verdict: done → retry: the handler trapped: unreachable"]);
        let again = Outcome::Retry { reason: "another".into(), after: None };
        assert_eq!(outcome_differences(&trapped, &again), []);
    }
}
