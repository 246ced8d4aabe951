//! Each limit at its edge: what fits is done, and what does not gets a reason that names the limit.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use super::components::{
    ENGINE, assert_reject, assert_retry, assert_unknown, attempt, components, detail, event,
    hostile, manifest, release,
};
use super::fakes::services;
use super::server::{Answer, Server};
use super::wat;
use crate::domain::{Counters, Decision, Outcome, RetryPolicy, decide};
use crate::plugin::{Release, SandboxEngine};

const QUICK: &str = "[limits]\ntimeout = \"100ms\"\n";
/// Far more than any of these calls may take, and far less than what they try.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_loop_ends_at_the_time_limit() {
    let release = hostile(QUICK).await;
    let started = Instant::now();
    let outcome = attempt(&release, &services(), json!({"do": "loop"})).await;
    assert_retry(&outcome, "time limit 100ms reached");
    assert!(started.elapsed() < SOON);
}

#[tokio::test]
async fn waiting_in_the_host_ends_at_the_time_limit() {
    let outcome = attempt(&hostile(QUICK).await, &services(), json!({"do": "sleep"})).await;
    assert_retry(&outcome, "time limit 100ms reached");
}

/// With an engine of its own, whose turns are taken while it waits for the first answer.
#[tokio::test]
async fn a_call_that_waits_for_its_turn_loses_nothing_of_its_time() {
    let engine = SandboxEngine::start().unwrap();
    let server = Server::start(Answer::ok()).await;
    let granted = manifest(&format!("{QUICK}[grants]\n{}", server.grant()));
    let wasm = &components().await.hostile;
    let release = Release::from_bytes(&engine, granted, wasm, None).unwrap();
    let event = event(&json!({"do": "call", "url": server.url(), "count": 3}));
    let services = services();
    let attempt = release.attempt(&engine, &event, &services);
    let taken = async {
        let held = engine.turns().hold_against(&release.account).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(held);
    };
    let (outcome, ()) = tokio::join!(biased; attempt, taken);
    assert_eq!(detail(outcome)["status"], 200);
}

#[tokio::test]
async fn a_loop_in_start_ends_at_the_time_limit() {
    let wasm = wat::plugin("(func $start (loop br 0)) (start $start)", "i32.const 1024", "");
    let outcome = attempt(&release(&wasm, QUICK), &services(), json!({})).await;
    assert_retry(&outcome, "time limit 100ms reached");
}

#[tokio::test]
async fn a_loop_in_post_return_ends_at_the_time_limit() {
    let wasm = wat::plugin("", "i32.const 1024", "(loop br 0)");
    let outcome = attempt(&release(&wasm, QUICK), &services(), json!({})).await;
    assert_retry(&outcome, "time limit 100ms reached");
}

#[tokio::test]
async fn the_smallest_handler_works() {
    let wasm = wat::plugin("", "i32.const 1024", "");
    let outcome = attempt(&release(&wasm, ""), &services(), json!({})).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
}

#[tokio::test]
async fn a_guest_that_spins_lets_its_neighbours_run() {
    let spinning = hostile("[limits]\ntimeout = \"2s\"").await;
    let good = hostile("").await;
    let (services, ok) = (services(), json!({"do": "ok"}));
    // One thread for both, and the good one is asked second.
    let spin = attempt(&spinning, &services, json!({"do": "loop"}));
    let neighbours = async {
        let started = Instant::now();
        for _ in 0..20 {
            detail(attempt(&good, &services, ok.clone()).await);
        }
        started.elapsed()
    };
    let (outcome, elapsed) = tokio::join!(spin, neighbours);
    assert_retry(&outcome, "time limit 2000ms reached");
    assert!(elapsed < Duration::from_secs(2), "they waited for it: {elapsed:?}");
}

#[tokio::test]
async fn an_allocation_without_end_is_stopped_by_name() {
    let release = hostile("").await;
    let outcome = attempt(&release, &services(), json!({"do": "allocate"})).await;
    assert_retry(&outcome, "memory limit 32MiB reached");
    detail(attempt(&release, &services(), json!({"do": "ok"})).await);
}

#[tokio::test]
async fn a_memory_of_exactly_the_limit_is_allowed() {
    let grown = async |pages: u32| {
        let grow = format!(
            "(if (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)) (then unreachable)) \
             i32.const 1024"
        );
        let release = release(&wat::plugin("", &grow, ""), "[limits]\nmemory = \"1MiB\"");
        attempt(&release, &services(), json!({})).await
    };
    // One of the sixteen is there from the start.
    assert!(matches!(grown(15).await, Outcome::Done(_)));
    assert_retry(&grown(16).await, "memory limit 1MiB reached");
}

#[tokio::test]
async fn a_table_cannot_take_the_memorys_place() {
    let grow = "(drop (table.grow $t (ref.null func) (i32.const 50001))) i32.const 1024";
    let wasm = wat::plugin("(table $t 0 funcref)", grow, "");
    let outcome = attempt(&release(&wasm, ""), &services(), json!({})).await;
    assert_retry(&outcome, "table limit of 50000 elements reached");
}

#[tokio::test]
async fn deep_recursion_is_a_trap_that_says_so() {
    let outcome = attempt(&hostile("").await, &services(), json!({"do": "recurse"})).await;
    assert_retry(&outcome, "the handler trapped: wasm trap: call stack exhausted");
}

#[tokio::test]
async fn the_words_of_a_panic_are_part_of_the_reason() {
    let payload = json!({"do": "panic", "text": "the partner\nhas no name\u{1b}[31m"});
    let outcome = attempt(&hostile("").await, &services(), payload).await;
    assert_retry(&outcome, "the partner\\nhas no name\\u{1b}[31m");
}

#[tokio::test]
async fn random_bytes_are_bounded() {
    let release = hostile("").await;
    let payload = |bytes: u32| json!({"do": "random", "bytes": bytes});
    let given = attempt(&release, &services(), payload(64 << 10)).await;
    assert_eq!(detail(given), json!(64 << 10));
    assert_retry(
        &attempt(&release, &services(), payload((64 << 10) + 1)).await,
        "limit 64KiB of random bytes at once reached: 65537 asked for",
    );
}

#[tokio::test]
async fn a_payload_beyond_the_limit_never_reaches_the_guest() {
    let payload = json!({"do": "ok"});
    let bytes = payload.to_string().len();
    let limited = async |max: usize| {
        let release = hostile(&format!("[limits]\npayload = \"{max}B\"")).await;
        release.attempt(&ENGINE, &event(&payload), &services()).await
    };
    assert!(matches!(limited(bytes).await, Outcome::Done(_)));
    let said = format!("payload limit {}B reached: {bytes} bytes given", bytes - 1);
    assert_reject(&limited(bytes - 1).await, &said);
}

#[tokio::test]
async fn requests_are_counted() {
    let server = Server::start(Answer::ok()).await;
    let release = hostile(&format!("[limits]\nrequests = 2\n[grants]\n{}", server.grant())).await;
    let payload = |count: u32| json!({"do": "call", "url": server.url(), "count": count});
    detail(attempt(&release, &services(), payload(2)).await);
    let outcome = attempt(&release, &services(), payload(3)).await;
    assert_retry(&outcome, "limit of 2 requests a call reached");
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn a_requests_body_is_bounded() {
    let server = Server::start(Answer::ok()).await;
    let limits = "[limits]\nrequest_body = \"100KiB\"\n[grants]\n";
    let release = hostile(&format!("{limits}{}", server.grant())).await;
    let payload = |bytes: u32| json!({"do": "call", "url": server.url(), "bytes": bytes});
    detail(attempt(&release, &services(), payload(100 << 10)).await);
    let outcome = attempt(&release, &services(), payload((100 << 10) + 1)).await;
    assert_unknown(&outcome, "limit 100KiB of a request's body reached");
}

#[tokio::test]
async fn an_answers_body_is_bounded() {
    for (bytes, fits) in [(10_000, true), (10_001, false)] {
        let server = Server::start(Answer::text(&"x".repeat(bytes))).await;
        let limits = "[limits]\nresponse_body = \"10000B\"\n[grants]\n";
        let release = hostile(&format!("{limits}{}", server.grant())).await;
        let outcome =
            attempt(&release, &services(), json!({"do": "call", "url": server.url()})).await;
        if fits {
            assert_eq!(detail(outcome), json!({"status": 200, "bytes": bytes}));
        } else {
            assert_unknown(&outcome, "limit 10000B of an answer's body reached");
        }
    }
}

#[tokio::test]
async fn an_answer_in_chunks_without_end_is_bounded() {
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let server = Server::start(Answer::Raw(format!("{head}{}", chunk.repeat(20)))).await;
    let limits = "[limits]\nresponse_body = \"10000B\"\n[grants]\n";
    let release = hostile(&format!("{limits}{}", server.grant())).await;
    let outcome = attempt(&release, &services(), json!({"do": "call", "url": server.url()})).await;
    assert_unknown(&outcome, "limit 10000B of an answer's body reached");
}

#[tokio::test]
async fn an_endless_head_of_an_answer_is_bounded() {
    let lines = "x-more: and more\r\n".repeat(100_000);
    let server = Server::start(Answer::Raw(format!("HTTP/1.1 200 OK\r\n{lines}"))).await;
    let release = hostile(&format!("[grants]\n{}", server.grant())).await;
    let outcome = attempt(&release, &services(), json!({"do": "call", "url": server.url()})).await;
    assert_unknown(&outcome, "");
    assert!(!format!("{outcome:?}").contains("time limit"), "{outcome:?}");
}

#[tokio::test]
async fn a_wait_of_half_a_billion_years_is_a_day() {
    let release = hostile("").await;
    let policy = RetryPolicy::default();
    let day = Duration::from_secs(24 * 60 * 60);
    let decided = async |deed: &str| {
        let payload = json!({"do": deed, "ms": u64::MAX});
        decide(attempt(&release, &services(), payload).await, Counters::default(), &policy, 0)
    };
    assert!(matches!(decided("retry").await, Decision::Retry { after, .. } if after == day));
    assert_eq!(decided("defer").await, Decision::Defer { after: day });
}

/// What the log holds, without colours.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self, with: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(with)).map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged on this thread until the guard goes.
fn log() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    (log, tracing::subscriber::set_default(subscriber))
}

#[tokio::test]
async fn a_flood_of_log_lines_is_cut_and_said_to_be() {
    let release = hostile("[limits]\nlog_lines = 10").await;
    let (log, _guard) = log();
    detail(attempt(&release, &services(), json!({"do": "log_flood"})).await);
    assert_eq!(log.lines("with a line break").len(), 10);
    assert_eq!(log.lines("limit of 10 log lines a call reached").len(), 1);
}

#[tokio::test]
async fn the_bytes_of_all_log_lines_are_bounded_and_a_gap_is_an_end() {
    let release = hostile("[limits]\nlog_bytes = \"20B\"").await;
    let logged = async |text: &str, count: u32| {
        let (log, _guard) = log();
        let payload = json!({"do": "log", "text": text, "count": count});
        detail(attempt(&release, &services(), payload).await);
        let said = log.lines("limit 20B of log lines a call reached; the rest is dropped").len();
        (log.lines(text).len(), said)
    };
    assert_eq!(logged("ten bytes!", 2).await, (2, 0), "exactly the limit");
    assert_eq!(logged("ten bytes!", 5).await, (2, 1), "one more is cut, and said so once");
    assert_eq!(logged("21 bytes are too many", 1).await, (0, 1));
    // What is printed counts too, after what was logged: it is logged when the call is over.
    let (log, _guard) = log();
    let payload = json!({"do": "print", "text": "printed: 21 bytes now"});
    detail(attempt(&release, &services(), payload).await);
    assert_eq!(log.lines("21 bytes now"), [""; 0]);
    assert_eq!(log.lines("limit 20B of log lines a call reached").len(), 1);
}

#[tokio::test]
async fn a_log_line_cannot_pretend_to_be_another() {
    let release = hostile("").await;
    let (log, _guard) = log();
    let text = "one\r\n2026-01-01 ERROR forged\u{1b}[2J\u{7}";
    detail(attempt(&release, &services(), json!({"do": "log", "text": text})).await);
    detail(attempt(&release, &services(), json!({"do": "print", "text": "printed\rline"})).await);
    let forged = log.lines("forged");
    assert_eq!(forged.len(), 1, "{forged:?}");
    assert!(forged[0].contains("one\\r\\n2026-01-01 ERROR forged\\u{1b}[2J\\u{7}"), "{forged:?}");
    assert!(forged[0].contains("plugin.name=hostile") && forged[0].contains("event.id="));
    assert_eq!(log.lines("printed\\rline").len(), 1);
}

#[tokio::test]
async fn a_long_log_line_is_cut() {
    let release = hostile("").await;
    let (log, _guard) = log();
    let text = "x".repeat(100_000);
    detail(attempt(&release, &services(), json!({"do": "log", "text": text})).await);
    let lines = log.lines("xxx");
    assert!(lines[0].len() < 5_000 && lines[0].contains("x… "), "{} bytes", lines[0].len());
}
