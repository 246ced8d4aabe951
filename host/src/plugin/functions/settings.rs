//! `settings`: the manifest's `[settings]`, as JSON.

use super::super::bindings::imported::settings::Host;
use super::super::bindings::imported::types;
use super::super::state::CallState;

impl types::Host for CallState {}

impl Host for CallState {
    async fn all(&mut self) -> String {
        self.facts.release.settings_json.clone()
    }
}
