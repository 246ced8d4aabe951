//! Small components that no compiler would make: they loop, trap and lie where only WebAssembly
//! itself can.

use super::super::wat::{self, Parts};
use super::End::{Refused, Retry};
use super::{Trick, component};

const OUT_OF_TIME: &str = "time limit 300ms reached";

/// A handler whose core module has these fields, and `handle` this body.
fn handler(fields: &'static str, handle: &'static str) -> impl Fn() -> Vec<u8> + Send {
    move || wat::plugin(fields, handle, "")
}

fn realloc(realloc: &'static str) -> impl Fn() -> Vec<u8> + Send {
    move || Parts { realloc, ..Parts::default() }.binary()
}

/// A handler that rejects with a text of its own: `at` and `length` as the guest says them.
fn rejecting(at: &str, length: &str) -> Vec<u8> {
    let handle = format!(
        "(i32.store8 (i32.const 2048) (i32.const 1))
         (i32.store8 offset=8 (i32.const 2048) (i32.const 3))
         (i32.store offset=16 (i32.const 2048) (i32.const {at}))
         (i32.store offset=20 (i32.const 2048) (i32.const {length}))
         i32.const 2048"
    );
    wat::plugin("(data (i32.const 3072) \"\\ff\\fe\\80\")", &handle, "")
}

pub(super) fn tricks() -> Vec<Trick> {
    let mut tricks = in_its_own_time();
    tricks.extend(growing());
    tricks.extend(trapping());
    tricks.extend(lying());
    tricks
}

/// Those that never end.
fn in_its_own_time() -> Vec<Trick> {
    vec![
        component("a loop", Retry(OUT_OF_TIME), handler("", "(loop br 0) unreachable")),
        component(
            "a loop in start",
            Refused(OUT_OF_TIME),
            handler("(func $start (loop br 0)) (start $start)", "i32.const 1024"),
        ),
        component("a loop in post-return", Retry(OUT_OF_TIME), || {
            wat::plugin("", "i32.const 1024", "(loop br 0)")
        }),
        component("a loop in realloc", Retry(OUT_OF_TIME), realloc("(loop br 0) unreachable")),
        component(
            "a loop through a table",
            Retry(OUT_OF_TIME),
            handler(
                "(type $f (func)) (table 1 funcref) (elem (i32.const 0) $nothing) (func $nothing)",
                "(loop (call_indirect (type $f) (i32.const 0)) br 0) unreachable",
            ),
        ),
        component("a loop over its whole memory", Retry(OUT_OF_TIME), || {
            let handle = "(loop (memory.fill (i32.const 0) (i32.const 7) (i32.const 33554432))
                          br 0) unreachable";
            Parts { memory: "512", handle, ..Parts::default() }.binary()
        }),
        component("a loop of growths that fail", Retry(OUT_OF_TIME), || {
            let handle = "(loop (drop (memory.grow (i32.const 1))) br 0) unreachable";
            Parts { memory: "1 1", handle, ..Parts::default() }.binary()
        }),
    ]
}

fn growing() -> Vec<Trick> {
    let grow = "(loop (drop (memory.grow (i32.const 16))) br 0) unreachable";
    vec![
        component("memory without end", Retry("memory limit 32MiB reached"), handler("", grow)),
        component(
            "memory without end in start",
            Refused("memory limit 32MiB reached"),
            handler(
                "(func $start (loop (drop (memory.grow (i32.const 16))) br 0)) (start $start)",
                "i32.const 1024",
            ),
        ),
        component(
            "several memories that share the limit",
            Retry("memory limit 32MiB reached"),
            handler(
                "(memory $b 1) (memory $c 1)",
                "(loop (drop (memory.grow (i32.const 16))) (drop (memory.grow $b (i32.const 16)))
                 (drop (memory.grow $c (i32.const 16))) br 0) unreachable",
            ),
        ),
        component(
            "a table without end",
            Retry("table limit of 50000 elements reached"),
            handler(
                "(table $t 0 funcref)",
                "(loop (drop (table.grow $t (ref.null func) (i32.const 1000))) br 0) unreachable",
            ),
        ),
        component(
            "several tables that share the limit",
            Retry("table limit of 50000 elements reached"),
            handler(
                "(table $a 0 funcref) (table $b 0 funcref)",
                "(loop (drop (table.grow $a (ref.null func) (i32.const 1000)))
                 (drop (table.grow $b (ref.null func) (i32.const 1000))) br 0) unreachable",
            ),
        ),
        component(
            "a million resources of its own",
            Retry("limit of 4096 handles a call reached"),
            || {
                Parts {
                    before: "(type $r (resource (rep i32)))
                         (core func $new (canon resource.new $r))
                         (core instance $host (export \"new\" (func $new)))",
                    core_with: "(with \"host\" (instance $host))",
                    core_imports: "(import \"host\" \"new\" (func $new (param i32) (result i32)))",
                    handle: "(local $n i32)
                         (loop (drop (call $new (local.get $n)))
                          (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1)))
                                             (i32.const 1000000))))
                         i32.const 1024",
                    ..Parts::default()
                }
                .binary()
            },
        ),
    ]
}

fn trapping() -> Vec<Trick> {
    let exhausted = Retry("call stack exhausted");
    vec![
        component(
            "a trap in start",
            Refused("unreachable"),
            handler("(func $s unreachable) (start $s)", "i32.const 1024"),
        ),
        component("a trap in post-return", Retry("unreachable"), || {
            wat::plugin("", "i32.const 1024", "unreachable")
        }),
        component("a trap in realloc", Retry("unreachable"), realloc("unreachable")),
        component(
            "a call of itself",
            exhausted,
            handler("(func $f (call $f) (call $f))", "(call $f) unreachable"),
        ),
        component(
            "two that call each other through a table",
            exhausted,
            handler(
                "(type $f (func)) (table 2 funcref) (elem (i32.const 0) $a $b)
                 (func $a (call_indirect (type $f) (i32.const 1)) (drop (i32.const 1)))
                 (func $b (call_indirect (type $f) (i32.const 0)) (drop (i32.const 1)))",
                "(call $a) unreachable",
            ),
        ),
        component("a call of itself with 40,000 locals", exhausted, || {
            let locals = "i64 ".repeat(40_000);
            let fields = format!(
                "(func $f (local {locals}) (local.set 39999 (i64.const 1)) (call $f) (drop (local.get 39999)))"
            );
            wat::plugin(&fields, "(call $f) unreachable", "")
        }),
        component(
            "a division by zero",
            Retry("integer divide by zero"),
            handler("", "(i32.div_u (i32.const 1) (i32.const 0))"),
        ),
        component(
            "a read beyond its memory",
            Retry("out of bounds memory access"),
            handler("", "(i32.load (i32.const -4))"),
        ),
        component(
            "a call of nothing",
            Retry("uninitialized element"),
            handler(
                "(type $f (func)) (table 1 funcref)",
                "(call_indirect (type $f) (i32.const 0)) unreachable",
            ),
        ),
        component(
            "a call of the wrong type",
            Retry("indirect call type mismatch"),
            handler(
                "(type $f (func)) (table 1 funcref) (elem (i32.const 0) $g) (func $g (param i32))",
                "(call_indirect (type $f) (i32.const 0)) unreachable",
            ),
        ),
        component(
            "data beyond its memory",
            Refused("out of bounds memory access"),
            handler("(data (i32.const 65535) \"too long\")", "i32.const 1024"),
        ),
        component(
            "elements beyond its table",
            Refused("out of bounds table access"),
            handler("(table 1 funcref) (elem (i32.const 1) $f) (func $f)", "i32.const 1024"),
        ),
        component(
            "a call of the host within realloc",
            Retry("cannot leave component instance"),
            || {
                Parts {
                    imports: "(import \"wasi:clocks/monotonic-clock@0.2.0\" (instance $clock
                              (export \"now\" (func (result u64)))))",
                    with: "(with \"clock\" (instance $clock))",
                    before:
                        "(import \"clock\" (instance $clock (export \"now\" (func (result u64)))))
                         (core func $now (canon lower (func $clock \"now\")))
                         (core instance $host (export \"now\" (func $now)))",
                    core_with: "(with \"host\" (instance $host))",
                    core_imports: "(import \"host\" \"now\" (func $now (result i64)))",
                    realloc: "(drop (call $now)) i32.const 4096",
                    ..Parts::default()
                }
                .binary()
            },
        ),
    ]
}

/// Those that say of their memory what is not so.
fn lying() -> Vec<Trick> {
    let outside = Retry("it handed over a place outside of its memory");
    let between = Retry("it handed over a place that nothing of its kind can begin at");
    vec![
        component("an answer beyond its memory", outside, handler("", "i32.const -8")),
        component("an answer between the places", between, handler("", "i32.const 1025")),
        component(
            "an answer of an unknown case",
            Retry("it handed over a value of no known case"),
            handler("", "(i32.store8 (i32.const 2048) (i32.const 7)) i32.const 2048"),
        ),
        component("room beyond its memory", outside, realloc("i32.const -16")),
        component("room between the places", between, realloc("i32.const 4097")),
        component("a text beyond its memory", outside, || rejecting("65000", "10000000")),
        component("a text that ends where it begins", outside, || rejecting("-1", "-1")),
        component("a text that is no UTF-8", Retry("a text that is not UTF-8"), || {
            rejecting("3072", "3")
        }),
        component("a list of a hundred million follow-ups", outside, || {
            let handle = "(i32.store offset=36 (i32.const 2048) (i32.const 4096))
                          (i32.store offset=40 (i32.const 2048) (i32.const 100000000))
                          i32.const 2048";
            wat::plugin("", handle, "")
        }),
        component(
            "a text of 16 MiB",
            Retry("limit 2112KiB of what is handed over at once reached"),
            || {
                let handle = "(i32.store8 (i32.const 2048) (i32.const 1))
                          (i32.store8 offset=8 (i32.const 2048) (i32.const 3))
                          (i32.store offset=16 (i32.const 2048) (i32.const 65536))
                          (i32.store offset=20 (i32.const 2048) (i32.const 16777216))
                          i32.const 2048";
                Parts { memory: "300", handle, ..Parts::default() }.binary()
            },
        ),
    ]
}
