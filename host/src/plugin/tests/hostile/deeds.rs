//! What a plugin written in Rust can try, with a library or past it.

use serde_json::{Value, json};

use super::super::server::Server;
use super::End::{GivenUp, Harmless, Reject, Retry, Unknown};
use super::{How, QUICK, Trick, deed};

const OUT_OF_TIME: &str = "time limit 300ms reached";

pub(super) fn tricks(server: &Server, slow: &Server) -> Vec<Trick> {
    let mut tricks = alone();
    tricks.extend(against_the_host());
    tricks.extend(receipts());
    tricks.extend(outwards(server, slow));
    tricks
}

fn alone() -> Vec<Trick> {
    vec![
        deed("a loop in Rust", Retry(OUT_OF_TIME), json!({"do": "loop"})),
        deed(
            "an allocation without end",
            Retry("memory limit 32MiB reached"),
            json!({"do": "allocate"}),
        ),
        deed(
            "a recursion on the host's stack",
            Retry("call stack exhausted"),
            json!({"do": "recurse"}),
        ),
        deed(
            "a recursion on its own stack",
            Retry("the handler trapped"),
            json!({"do": "recurse_wide"}),
        ),
        deed(
            "a panic of a megabyte",
            Retry("the handler trapped"),
            json!({"do": "panic_giant", "bytes": 1_000_000}),
        ),
        deed(
            "an exit",
            Retry("the handler exited with 1 and gave no answer"),
            json!({"do": "exit"}),
        ),
        deed("files, variables and sockets", Harmless, json!({"do": "escape", "port": 1})),
        deed("an answer that is kept for the next call", Harmless, json!({"do": "count_calls"})),
    ]
}

fn against_the_host() -> Vec<Trick> {
    let save = |bytes: usize, count: u32| json!({"do": "save", "bytes": bytes, "count": count});
    let long = json!({"do": "long_name", "text": "authority", "bytes": 1_000_000});
    vec![
        deed(
            "a wait in a poll that is never ready",
            Retry(OUT_OF_TIME),
            json!({"do": "wait_forever"}),
        ),
        deed("a loop of calls of the host", Retry(OUT_OF_TIME), json!({"do": "spin_in_host"})),
        deed(
            "a poll of 50,000 names of one handle",
            Retry("limit of 4096 handles a call reached"),
            json!({"do": "poll_many", "count": 50_000}),
        ),
        deed(
            "a poll of a million names of one handle",
            Retry("limit 2112KiB of what is handed over at once reached"),
            json!({"do": "poll_many", "count": 1_000_000}),
        ),
        deed(
            "a million handles",
            Retry("limit of 1024 resources a call reached"),
            json!({"do": "leak_pollables", "count": 1_000_000}),
        ),
        deed(
            "headers that are never dropped",
            Retry("limit of 1024 resources a call reached"),
            json!({"do": "leak_headers", "count": 2_000}),
        )
        .with(""),
        deed(
            "bodies that are never sent",
            Retry("limit of 1024 resources a call reached"),
            json!({"do": "leak_bodies", "count": 1_000}),
        )
        .with(""),
        deed("a host name of a megabyte", Harmless, long),
        deed(
            "64 MiB on its standard output",
            Harmless,
            json!({"do": "print_flood", "count": 16_384}),
        )
        .with(""),
        deed(
            "more zeroes than there are",
            Retry("it wrote more than the stream had room for"),
            json!({"do": "zeroes"}),
        ),
        deed("a million lines of log", Retry(OUT_OF_TIME), json!({"do": "log_flood"})),
        deed(
            "a line that pretends to be another",
            Harmless,
            json!({"do": "log", "text": "a\r\n2026-01-01 ERROR forged\u{1b}[2J"}),
        ),
        deed(
            "megabytes of random bytes",
            Retry("of random bytes at once reached"),
            json!({"do": "random", "bytes": 1 << 24}),
        ),
        deed(
            "a checkpoint of a megabyte",
            Reject("checkpoint limit 64KiB reached"),
            save(1 << 20, 1),
        ),
        deed(
            "a thousand checkpoints",
            Retry("limit of 100 checkpoint saves a call reached"),
            save(10, 1_000),
        )
        .with(""),
        deed(
            "two thousand questions for a secret",
            Retry("limit of 1000 host calls a call reached"),
            json!({"do": "secret", "text": "KEY", "count": 2_000}),
        )
        .with(""),
        deed(
            "a secret that is not granted",
            Reject("grants.secrets"),
            json!({"do": "forbidden_secret"}),
        ),
        deed("a secret in its own answer", Harmless, json!({"do": "secret", "text": "KEY"})),
        deed(
            "a signature for another chain",
            Reject("grants.networks"),
            json!({"do": "sign", "count": 1}),
        ),
        deed(
            "a signature over 17 KiB of data",
            Reject("too long"),
            json!({"do": "sign", "count": 31337, "bytes": 17 << 10}),
        ),
        deed(
            "a topic that is not granted",
            Reject("grants.topics"),
            json!({"do": "publish", "text": "secrets.all"}),
        ),
        deed(
            "a message of 2 MiB",
            Reject("limit 1MiB of a message's body reached"),
            json!({"do": "publish", "text": "granted", "bytes": (1 << 20) + 1}),
        ),
        deed(
            "a hundred messages",
            Reject("limit of 32 requests a call reached"),
            json!({"do": "publish", "text": "granted", "count": 100}),
        ),
    ]
}

fn receipts() -> Vec<Trick> {
    let follow_ups = |kind: &str, text: String, count: u32| json!({"do": "follow_ups", "method": kind, "text": text, "count": count});
    let next = format!("{QUICK}[grants]\nfollow_ups = [\"NEXT\"]");
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let mut after_unknown =
        deed("a trap while it is asked what happened", Unknown("the handler trapped"), json!(null));
    after_unknown.how = How::DeedAfterUnknown(json!({"do": "ok", "reconcile": "trap"}));
    let mut loops_after_unknown =
        deed("a loop while it is asked what happened", Unknown(OUT_OF_TIME), json!(null));
    loops_after_unknown.how = How::DeedAfterUnknown(json!({"do": "ok", "reconcile": "loop"}));
    vec![
        deed(
            "a wait of half a billion years",
            Retry("again, please"),
            json!({"do": "retry", "ms": u64::MAX}),
        ),
        deed(
            "a deferral of half a billion years",
            Harmless,
            json!({"do": "defer", "ms": u64::MAX}),
        ),
        deed("a detail that is no JSON", Unknown("is not JSON"), json!({"do": "garbage_json"})),
        deed(
            "a detail of 5,000 brackets",
            Unknown("nested deeper than 64 levels"),
            json!({"do": "detail", "text": deep}),
        ),
        deed(
            "a detail of 100 KiB",
            Unknown("limit 64KiB of the receipt's detail reached"),
            json!({"do": "detail", "text": format!("\"{}\"", "x".repeat(100 << 10))}),
        )
        .with(""),
        deed(
            "half a character in a detail",
            Unknown("is not JSON"),
            json!({"do": "detail", "text": "\"\\ud800\""}),
        ),
        deed(
            "a withdrawal moved without a grant",
            Unknown("grants.transitions"),
            json!({"do": "forbidden_transition"}),
        ),
        deed(
            "a follow-up of a type without a grant",
            Unknown("grants.follow_ups"),
            json!({"do": "forbidden_follow_up"}),
        ),
        deed(
            "a payment as a follow-up",
            Unknown("grants.follow_ups"),
            follow_ups("BLOCKCHAIN_BROADCAST_REQUESTED", "{}".into(), 1),
        )
        .with(next.clone()),
        deed(
            "a hundred follow-ups",
            Unknown("limit of 16 follow-ups reached: 100 given"),
            follow_ups("NEXT", "{}".into(), 100),
        )
        .with(next.clone()),
        deed(
            "follow-ups of 2 MiB",
            Unknown("limit 1MiB of all follow-ups reached"),
            follow_ups("NEXT", format!("\"{}\"", "x".repeat(130 << 10)), 16),
        )
        .with(next),
        after_unknown,
        loops_after_unknown,
    ]
}

fn outwards(server: &Server, slow: &Server) -> Vec<Trick> {
    let granted = |server: &Server| format!("{QUICK}[grants]\n{}", server.grant());
    let call = |headers: Value| json!({"do": "call", "url": server.url(), "headers": headers});
    let fields = |headers: Value| json!({"do": "raw_header", "headers": headers});
    let injected = json!({"x-a": "1\r\nx-b: 2", "x-c\r\nx-d": "3", "x-e": "\u{0}", "host": "evil.example",
                          "connection": "upgrade", "upgrade": "websocket", "transfer-encoding": "chunked",
                          "proxy-authorization": "x", "keep-alive": "1"});
    vec![
        deed(
            "a call where nothing is granted",
            Retry("grants.http"),
            json!({"do": "forbidden_call"}),
        ),
        deed(
            "a secret for a stranger",
            Retry("grants.http"),
            json!({"do": "call_with_secret", "text": "KEY", "url": server.url()}),
        ),
        deed("headers that split a request", Harmless, fields(injected)),
        deed(
            "a header with a line break",
            Reject("x-a holds a control character"),
            call(json!({"x-a": "1\r\nx-b: 2"})),
        )
        .with(granted(server)),
        deed("another Host", Reject("the header host"), call(json!({"host": "evil.example"})))
            .with(granted(server)),
        deed(
            "an upgrade to a websocket",
            Reject("the header connection"),
            call(json!({"upgrade": "websocket", "connection": "upgrade"})),
        )
        .with(granted(server)),
        deed(
            "a tunnel",
            Reject("HttpRequestMethodInvalid"),
            json!({"do": "call", "url": server.url(), "method": "CONNECT"}),
        )
        .with(granted(server)),
        deed(
            "a body that comes a byte at a time",
            GivenUp,
            json!({"do": "trickle_body", "url": server.url(), "ms": 5}),
        )
        .with(granted(server)),
        deed(
            "a body that never ends",
            GivenUp,
            json!({"do": "call_without_end", "url": format!("http://{}", server.address)}),
        )
        .with(granted(server)),
        deed(
            "an answer that comes a byte at a time",
            Unknown(""),
            json!({"do": "call", "url": slow.url()}),
        )
        .with(granted(slow)),
        deed(
            "a hundred requests",
            Retry("limit of 32 requests a call reached"),
            json!({"do": "call", "url": server.url(), "count": 100}),
        )
        .with(format!("[grants]\n{}", server.grant())),
        deed(
            "a body of 2 MiB",
            Unknown("limit 1MiB of a request's body reached"),
            json!({"do": "call", "url": server.url(), "bytes": 2 << 20}),
        )
        .with(format!("[grants]\n{}", server.grant())),
    ]
}
