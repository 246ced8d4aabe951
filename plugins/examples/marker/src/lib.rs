//! Leaves its mark on each event, so that everybody sees which release handled it, and rejects as
//! many of a hundred as its settings say. Canaries and rollbacks are tried with it.

use serde_json::json;
use tidegate_plugin::{Event, Failure, Handler, Receipt, done, reject, settings};

#[derive(serde::Deserialize)]
struct Settings {
    mark: String,
    /// Of a hundred events, by the number in their payload.
    fail_percent: u64,
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
}
