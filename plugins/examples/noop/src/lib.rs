//! The smallest handler: it does nothing, and says that it is done. Benches measure with it what
//! the host itself costs.

use tidegate_plugin::{Event, Failure, Handler, Receipt, done};

struct Noop;

impl Handler for Noop {
    fn handle(_event: &Event) -> Result<Receipt, Failure> {
        Ok(done())
    }
}

tidegate_plugin::export_handler!(Noop);

#[cfg(test)]
mod tests {
    use tidegate_plugin::{Handler, done, testing};

    #[test]
    fn every_event_is_done() {
        let event = testing::event("NOOP", serde_json::json!({}));
        assert_eq!(super::Noop::handle(&event), Ok(done()));
    }
}
