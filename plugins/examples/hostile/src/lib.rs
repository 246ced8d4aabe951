//! A handler that misbehaves as its payload asks: `{"do": "trap"}`. The host's tests show with it
//! that one bad plugin costs nobody else anything.

mod deeds;
mod forgeries;
mod host_functions;
mod requests;
mod tricks;

use std::collections::BTreeMap;

use serde::Deserialize;
use tidegate_plugin::{
    Chain, Event, Failure, Finding, Handler, Proposal, Receipt, Reconciler, done, reject,
};

/// What to do, and with what. Each deed takes what it needs of the rest.
#[derive(Debug, Clone, Deserialize)]
struct Payload {
    #[serde(rename = "do")]
    deed: Deed,
    /// What to do once the first deed went well.
    then: Option<Deed>,
    /// Whether it is done even if the first deed did not go well.
    #[serde(default)]
    regardless: bool,
    /// What to do when it is asked what happened. Without it, nothing did.
    reconcile: Option<Deed>,
    #[serde(default)]
    url: String,
    #[serde(default = "put")]
    method: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    text: String,
    /// The body of a templated request, and its type.
    #[serde(default)]
    body: String,
    #[serde(default)]
    content_type: String,
    /// Where a secret is told.
    #[serde(default)]
    how: String,
    #[serde(default)]
    bytes: usize,
    #[serde(default = "one")]
    count: u32,
    #[serde(default)]
    ms: u64,
    #[serde(default)]
    port: u16,
}

fn put() -> String {
    "PUT".into()
}

fn one() -> u32 {
    1
}

#[derive(Debug, Clone, Copy, Deserialize)]
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
    /// Waits `ms` inside a call to the host.
    Wait,
    /// Writes a follow-up event that the manifest does not grant.
    ForbiddenFollowUp,
    /// Moves a withdrawal that is not its own to move.
    ForbiddenTransition,
    /// Asks for a secret that the manifest does not grant.
    ForbiddenSecret,
    /// Answers with `text` as its detail.
    Detail,
    /// Writes `count` follow-ups of the type `method`, each with the payload `text`.
    FollowUps,
    /// Says that the transaction was handed to the network.
    Broadcasted,
    /// Answers `retry` after `ms`.
    Retry,
    /// Answers `unknown`.
    Unknown,
    /// Answers `defer` for `ms`.
    Defer,
    /// Answers `reject`.
    Reject,
    /// Answers how often this instance was called.
    CountCalls,
    /// Writes `text` to the log, `count` times.
    Log,
    /// Prints `text` on its standard output.
    Print,
    /// Prints `text` as a panic does, and traps.
    Panic,
    /// Asks for `bytes` random bytes.
    Random,
    /// Tries to reach files, the environment and sockets; answers what it reached.
    Escape,
    /// Sends `count` requests with `headers` and a body of `bytes`; answers the last answer.
    Call,
    /// The same, with the placeholder of the secret `text` as its bearer token.
    CallWithSecret,
    /// Sends one request, with the placeholder of the secret `text` for each `{secret}` in `url`,
    /// `headers` and `body`; answers what came back.
    CallTemplate,
    /// Sends one request past the SDK and its checks, its body in pieces.
    CallRaw,
    /// Tells the secret `text`, spelled as `method` says, in what `how` says.
    TellSecret,
    /// Answers the HMAC of `body` with the secret `text`, in hexadecimal.
    Hmac,
    /// Sends a request and never finishes its body.
    CallWithoutEnd,
    /// Answers what the host gives for the secret `text`.
    Secret,
    /// Publishes `bytes` to the topic `text`, `count` times.
    Publish,
    /// Saves a checkpoint of `bytes`.
    Save,
    /// Answers what the last checkpoint is.
    Load,
    /// Answers its settings.
    Settings,
    /// Answers the terms of payment of the network `text`.
    Terms,
    /// Has a payment on the chain number `count` signed; answers the hash.
    Sign,
    /// Answers the hash of what was signed last.
    Signed,
    /// Calls itself with much of it in its own memory.
    RecurseWide,
    /// Traps with a message of `bytes`.
    PanicGiant,
    /// Waits in a poll that is never ready.
    WaitForever,
    /// Asks for the time, for ever.
    SpinInHost,
    /// Polls one handle that it names `count` times.
    PollMany,
    /// Prints `count` blocks of 4 KiB.
    PrintFlood,
    /// Writes more zeroes than there are.
    Zeroes,
    /// Ends as a process does.
    Exit,
    /// Asks for `bytes` bytes of the other random numbers.
    InsecureRandom,
    /// Makes `count` handles and drops none.
    LeakPollables,
    /// Makes `count` lists of headers and drops none.
    LeakHeaders,
    /// Makes `count` requests with a body, and sends and drops none.
    LeakBodies,
    /// Gives the part `text` of a request `bytes` bytes.
    LongName,
    /// Makes `headers` into fields, byte for byte.
    RawHeader,
    /// Sends a body of one byte each `ms`, for ever.
    TrickleBody,
}

impl Payload {
    fn act(&self) -> Result<Receipt, Failure> {
        let first = self.carry_out(self.deed);
        match self.then {
            Some(deed) if first.is_ok() || self.regardless => self.carry_out(deed),
            _ => first,
        }
    }

    fn carry_out(&self, deed: Deed) -> Result<Receipt, Failure> {
        match deed {
            Deed::Ok => Ok(done()),
            Deed::Trap => deeds::trap(),
            Deed::Loop => deeds::spin(),
            Deed::Allocate => deeds::allocate(),
            Deed::Recurse => Ok(done().detail(deeds::recurse(1))),
            Deed::GarbageJson => Ok(done().detail_text("{\"torn\": ")),
            Deed::Sleep => deeds::sleep(),
            Deed::Wait => deeds::wait(self.ms),
            Deed::ForbiddenFollowUp => Ok(done().follow_up("NOT_GRANTED", serde_json::json!({}))),
            Deed::ForbiddenTransition => Ok(done().failed("because I say so")),
            Deed::Detail => Ok(done().detail_text(&*self.text)),
            Deed::FollowUps => Ok(deeds::follow_ups(self)),
            Deed::Broadcasted => Ok(done().broadcasted()),
            Deed::Retry => Err(deeds::retry_after_ms(self.ms)),
            Deed::Unknown => Err(tidegate_plugin::unknown("nobody knows")),
            Deed::Defer => Err(deeds::defer_ms(self.ms)),
            Deed::Reject => Err(reject("never")),
            Deed::CountCalls => Ok(done().detail(deeds::count_calls())),
            Deed::Print => deeds::print(&self.text),
            Deed::Panic => deeds::panic_with(&self.text),
            Deed::Random => deeds::random(self.bytes),
            Deed::Escape => Ok(done().detail(deeds::escape(self.port))),
            Deed::RecurseWide => Ok(done().detail(deeds::recurse_wide(1))),
            Deed::PanicGiant => deeds::panic_with(&"x".repeat(self.bytes)),
            Deed::WaitForever
            | Deed::SpinInHost
            | Deed::PollMany
            | Deed::PrintFlood
            | Deed::Zeroes
            | Deed::Exit
            | Deed::InsecureRandom
            | Deed::LeakPollables
            | Deed::LeakHeaders
            | Deed::LeakBodies
            | Deed::LongName
            | Deed::RawHeader
            | Deed::TrickleBody => tricks::play(deed, self),
            Deed::ForbiddenCall
            | Deed::LogFlood
            | Deed::ForbiddenSecret
            | Deed::Log
            | Deed::Call
            | Deed::CallWithSecret
            | Deed::CallTemplate
            | Deed::CallRaw
            | Deed::TellSecret
            | Deed::Hmac
            | Deed::CallWithoutEnd
            | Deed::Secret
            | Deed::Publish
            | Deed::Save
            | Deed::Load
            | Deed::Settings
            | Deed::Terms
            | Deed::Sign
            | Deed::Signed => host_functions::call(deed, self),
        }
    }
}

struct Hostile;

impl Handler for Hostile {
    fn handle(event: &Event) -> Result<Receipt, Failure> {
        if event.event_type == "BLOCKCHAIN_BROADCAST_REQUESTED" {
            return forgeries::try_all(event);
        }
        event.payload::<Payload>()?.act()
    }
}

impl Reconciler for Hostile {
    fn reconcile(event: &Event) -> Result<Finding, Failure> {
        let payload = event.payload::<Payload>()?;
        match payload.reconcile {
            Some(deed) => payload.carry_out(deed).map(Finding::Happened),
            None => Ok(Finding::DidNotHappen),
        }
    }
}

impl Chain for Hostile {
    /// A destination that is a payload is carried out.
    fn validate(proposal: &Proposal) -> Result<(), String> {
        // An address asks for nothing bad.
        if proposal.destination.starts_with("0x") {
            return Ok(());
        }
        let payload: Payload =
            serde_json::from_str(&proposal.destination).map_err(|error| error.to_string())?;
        payload.act().map(drop).map_err(|failure| failure.to_string())
    }
}

tidegate_plugin::export_reconciler!(Hostile);
#[cfg(target_arch = "wasm32")]
tidegate_plugin::__private::chain_world::export_chain_world!(
    Hostile with_types_in tidegate_plugin::__private::chain_world
);

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
