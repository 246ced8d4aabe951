//! A handler that misbehaves as its payload asks: `{"do": "trap"}`. The host's tests show with it
//! that one bad plugin costs nobody else anything.

use serde::Deserialize;
use tidegate_plugin::{Event, Failure, Handler, Receipt, done, http, retry};

/// Documentation addresses (RFC 5737): nobody is there, and no manifest grants it.
const FORBIDDEN_URL: &str = "http://198.51.100.7/";
/// Far beyond any `limits.log_lines`.
const FLOOD_LINES: u32 = 1_000_000;

#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "do")]
    deed: Deed,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Deed {
    /// Nothing bad.
    Ok,
    /// Ends in a WebAssembly trap.
    Trap,
    /// Computes for ever.
    Loop,
    /// Takes memory until there is none.
    Allocate,
    /// Calls itself until the stack is full.
    Recurse,
    /// Answers with a detail that is no JSON.
    GarbageJson,
    /// Calls where the manifest does not let it, and returns what the host said.
    ForbiddenCall,
    /// Writes a million lines.
    LogFlood,
    /// Waits an hour inside a call to the host.
    Sleep,
    /// Writes a follow-up event that the manifest does not grant.
    ForbiddenFollowUp,
    /// Moves a withdrawal that is not its own to move.
    ForbiddenTransition,
    /// Asks for a secret that the manifest does not grant.
    ForbiddenSecret,
}

struct Hostile;

impl Handler for Hostile {
    fn handle(event: &Event) -> Result<Receipt, Failure> {
        match event.payload::<Payload>()?.deed {
            Deed::Ok => Ok(done()),
            Deed::Trap => trap(),
            Deed::Loop => spin(),
            Deed::Allocate => allocate(),
            Deed::Recurse => Ok(done().detail(recurse(1))),
            Deed::GarbageJson => Ok(done().detail_text("{\"torn\": ")),
            Deed::ForbiddenCall => match http::get(FORBIDDEN_URL).send() {
                Ok(response) => Ok(done().detail(response.status())),
                Err(error) => Err(retry(error.to_string())),
            },
            Deed::LogFlood => {
                for line in 0..FLOOD_LINES {
                    tidegate_plugin::info!("line {line}\nwith a line break and a bell \u{7}");
                }
                Ok(done())
            }
            Deed::Sleep => sleep(),
            Deed::ForbiddenFollowUp => Ok(done().follow_up("NOT_GRANTED", serde_json::json!({}))),
            Deed::ForbiddenTransition => Ok(done().failed("because I say so")),
            Deed::ForbiddenSecret => {
                tidegate_plugin::secrets::get("NOT_GRANTED")?;
                Ok(done())
            }
        }
    }
}

fn trap() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    panic!("a trap")
}

fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

/// Touches what it takes, for memory that is only reserved costs nobody anything.
fn allocate() -> ! {
    const MEBIBYTE: usize = 1024 * 1024;
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(std::hint::black_box(vec![1; MEBIBYTE]));
    }
}

fn recurse(depth: u64) -> u64 {
    // A frame of some size, so that the end comes soon; used after the call, so that it stays.
    let frame = std::hint::black_box([depth; 64]);
    if depth == u64::MAX { depth } else { recurse(depth + 1).wrapping_add(frame[7]) }
}

#[cfg(target_arch = "wasm32")]
fn sleep() -> Result<Receipt, Failure> {
    const HOUR_NS: u64 = 3_600_000_000_000;
    wasip2::clocks::monotonic_clock::subscribe_duration(HOUR_NS).block();
    Ok(done())
}

#[cfg(not(target_arch = "wasm32"))]
fn sleep() -> Result<Receipt, Failure> {
    Err(retry("only a component can be made to wait in the host"))
}

tidegate_plugin::export_handler!(Hostile);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_plugin::{
        Failure, Handler, done,
        testing::{self, FakeHost, Reply},
    };

    fn act(deed: &str) -> Result<tidegate_plugin::Receipt, Failure> {
        super::Hostile::handle(&testing::event("HOSTILE", json!({ "do": deed })))
    }

    #[test]
    fn it_can_behave() {
        assert_eq!(act("ok"), Ok(done()));
    }

    #[test]
    fn a_deed_that_it_does_not_know_is_rejected() {
        assert!(matches!(act("steal"), Err(Failure::Reject(reason)) if reason.contains("`do`")));
    }

    #[test]
    fn a_forbidden_call_returns_what_the_host_said() {
        FakeHost::new().reply(Reply::denied());
        assert!(
            matches!(act("forbidden_call"), Err(Failure::Retry { reason, .. }) if reason.contains("grants.http"))
        );
    }

    #[test]
    fn garbage_is_no_json() {
        let detail = act("garbage_json").ok().and_then(|receipt| receipt.detail);
        assert!(
            detail.is_some_and(|text| serde_json::from_str::<serde_json::Value>(&text).is_err())
        );
    }
}
