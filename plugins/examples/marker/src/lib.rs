//! Leaves its mark on each event, so that everybody sees which release handled it, and rejects as
//! many of a hundred as its settings say. Canaries, shadows and rollbacks are tried with it.

use serde_json::json;
use tidegate_plugin::{Event, Failure, Handler, Receipt, done, http, reject, settings};

#[derive(serde::Deserialize)]
struct Settings {
    mark: String,
    /// Of a hundred events, by the number in their payload.
    fail_percent: u64,
    /// Each event is told there: PUT `{tell}/{n}`. Nowhere, if there is none.
    tell: Option<String>,
    /// What is told.
    #[serde(default)]
    words: String,
    /// Whether it traps when it has told.
    #[serde(default)]
    trap: bool,
}

#[derive(serde::Deserialize)]
struct Payload {
    n: u64,
}

struct Marker;

impl Handler for Marker {
    fn handle(event: &Event) -> Result<Receipt, Failure> {
        let settings: Settings = settings::get()?;
        let Payload { n } = event.payload()?;
        // Neighbours do not fail together.
        if n.wrapping_mul(37) % 100 < settings.fail_percent {
            return Err(reject(format!("{} fails", settings.mark)));
        }
        if let Some(url) = &settings.tell {
            let told = json!({ "n": n, "words": settings.words });
            http::put(format!("{url}/{n}")).json(&told).send()?;
        }
        assert!(!settings.trap, "{} traps", settings.mark);
        Ok(done().detail(json!({ "mark": settings.mark })))
    }
}

tidegate_plugin::export_handler!(Marker);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_plugin::{Failure, Handler, testing};

    #[test]
    fn it_fails_of_as_many_as_it_is_told_and_marks_the_others() {
        let host = testing::FakeHost::new();
        host.settings(json!({ "mark": "b", "fail_percent": 30 }));
        let handled: Vec<_> = (0..100)
            .map(|n| super::Marker::handle(&testing::event("MARK", json!({ "n": n }))))
            .collect();
        let failed = handled.iter().filter(|it| matches!(it, Err(Failure::Reject(_))));
        assert_eq!(failed.count(), 30);
        let done = handled.iter().flatten().next().and_then(|receipt| receipt.detail.as_deref());
        assert_eq!(done, Some(r#"{"mark":"b"}"#));
    }

    #[test]
    fn it_tells_where_it_is_told_to() {
        let host = testing::FakeHost::new();
        host.settings(json!({
            "mark": "b", "fail_percent": 0, "tell": "https://p.example/told", "words": "w",
        }));
        host.reply(testing::Reply::json(200, json!({})));
        super::Marker::handle(&testing::event("MARK", json!({ "n": 7 }))).unwrap();
        let sent = host.requests();
        assert_eq!(sent[0].url, "https://p.example/told/7");
    }
}
