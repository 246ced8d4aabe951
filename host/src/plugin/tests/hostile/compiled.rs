//! Components that are meant to hurt the compiler, or that ask for what this host does not offer.

use super::super::wat::{self, Parts, binary};
use super::End::{Harmless, Refused};
use super::{Trick, component};

/// Fields of the core module of a handler that is fine but for them.
fn with(fields: &'static str) -> impl Fn() -> Vec<u8> + Send {
    move || wat::plugin(fields, "i32.const 1024", "")
}

pub(super) fn tricks() -> Vec<Trick> {
    let mut tricks = large();
    tricks.extend(not_offered());
    tricks.extend(strangers());
    tricks
}

fn large() -> Vec<Trick> {
    vec![
        component("ten thousand instances", Refused("the component needs 10003 instances"), || {
            let instances = "(core instance (instantiate $empty))".repeat(10_000);
            let before = format!("(core module $empty) {instances}");
            Parts { before: &before, ..Parts::default() }.binary()
        }),
        component("nine memories", Refused("memories count of 9"), || {
            wat::plugin(&"(memory 1)".repeat(8), "i32.const 1024", "")
        }),
        component("17 tables", Refused("tables count of 17"), || {
            wat::plugin(&"(table 1 funcref)".repeat(17), "i32.const 1024", "")
        }),
        component(
            "a table of 50,001 elements",
            Refused("minimum element size of 50001"),
            with("(table 50001 funcref)"),
        ),
        component("a memory of 4 GiB at once", Refused("minimum byte size of 4294967296"), || {
            Parts { memory: "65536", ..Parts::default() }.binary()
        }),
        component("100,000 functions", Refused("the component needs 100003 functions"), || {
            wat::plugin(&"(func)".repeat(100_000), "i32.const 1024", "")
        }),
        component("one function of a million instructions", Refused("a function of 15000"), || {
            let body = "(drop (i32.const 1))".repeat(500_000);
            wat::plugin(&format!("(func {body})"), "i32.const 1024", "")
        }),
        component(
            "a billion instances in a kilobyte",
            Refused("instances; it may have 10000"),
            || {
                let mut text = "(component $c0)".to_owned();
                for level in 1..30 {
                    let below = level - 1;
                    text = format!(
                        "(component $c{level} {text} (instance (instantiate $c{below})) \
                     (instance (instantiate $c{below})))"
                    );
                }
                binary(&text)
            },
        ),
        component("20,000 functions", Harmless, || {
            wat::plugin(&"(func)".repeat(20_000), "i32.const 1024", "")
        }),
        component("types within types, 2,000 deep", Refused("does not validate"), || {
            let types: String = (1..2_000)
                .map(|level| format!("(type $t{level} (list $t{}))", level - 1))
                .collect();
            binary(&format!("(component (type $t0 (list u8)) {types})"))
        }),
        component("components within components, 2,000 deep", Refused("more than 32 deep"), || {
            nested_components(2_000)
        }),
        component("60 MiB of data", Refused("limits.memory"), || {
            let data = "x".repeat(60 << 20);
            let fields = format!("(data (i32.const 0) \"{data}\")");
            Parts { memory: "961", fields: &fields, ..Parts::default() }.binary()
        }),
        component("a custom section of 60 MiB", Harmless, || {
            let mut wasm = wat::plugin("", "i32.const 1024", "");
            let content = [&[1, b'x'][..], &vec![b'x'; 60 << 20]].concat();
            wasm.push(0);
            wasm.extend(leb128(content.len()));
            wasm.extend(content);
            wasm
        }),
    ]
}

/// A component in a component in a component, without a parser of text that would itself go deep.
fn nested_components(depth: usize) -> Vec<u8> {
    const HEADER: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];
    let mut wasm = HEADER.to_vec();
    for _ in 0..depth {
        let mut outer = HEADER.to_vec();
        outer.push(4);
        outer.extend(leb128(wasm.len()));
        outer.extend(wasm);
        wasm = outer;
    }
    wasm
}

fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        if number == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

fn not_offered() -> Vec<Trick> {
    let invalid = Refused("does not validate");
    vec![
        component("a memory with 64 bits", invalid, with("(memory i64 1)")),
        component("a shared memory", invalid, with("(memory 1 1 shared)")),
        component(
            "relaxed SIMD",
            invalid,
            with(
                "(func (drop (f32x4.relaxed_madd (v128.const i64x2 0 0) (v128.const i64x2 0 0) (v128.const i64x2 0 0))))",
            ),
        ),
        component("tail calls", invalid, with("(func $f (return_call $f))")),
        component("garbage collection", invalid, with("(type (struct (field i32)))")),
        component("exceptions", invalid, with("(tag $e) (func (throw $e))")),
        component("pages of one byte", invalid, with("(memory 1 (pagesize 1))")),
        component(
            "wide arithmetic",
            invalid,
            with("(func (drop (drop (i64.mul_wide_u (i64.const 1) (i64.const 1)))))"),
        ),
        component("a handler that answers later", invalid, || {
            binary(
                "(component (core module $m (func (export \"f\")))
                    (core instance $i (instantiate $m))
                    (func (export \"run\") async (canon lift (core func $i \"f\") async)))",
            )
        }),
    ]
}

fn strangers() -> Vec<Trick> {
    let unknown = Refused("which this host does not offer");
    vec![
        component("an import that nobody knows", unknown, || {
            wat::importing("evil:corp/kernel@1.0.0")
        }),
        component("an import of another major version", unknown, || {
            wat::importing("tidegate:plugin/signer@1.0.0")
        }),
        component("an import of its neighbour's server side", unknown, || {
            wat::importing("wasi:http/incoming-handler@0.2.0")
        }),
        component("a core module", Refused("it is a core module"), || binary("(module)")),
        component("a compiled artifact", Refused("a native or precompiled file"), || {
            b"\x7fELF\x02\x01\x01\0".to_vec()
        }),
        component("a component of another world", Refused("does not export"), || {
            binary("(component)")
        }),
        component("a handler of another shape", Refused("handle"), || {
            binary(
                r#"(component
                    (component $inner
                        (core module $m (func (export "f")))
                        (core instance $i (instantiate $m))
                        (func $f (canon lift (core func $i "f")))
                        (export "handle" (func $f)))
                    (instance $i (instantiate $inner))
                    (export "tidegate:plugin/handler@0.1.0" (instance $i)))"#,
            )
        }),
        component("half a component", Refused("does not validate"), || {
            let whole = wat::plugin("", "i32.const 1024", "");
            whole[..whole.len() / 2].to_vec()
        }),
        component("a component with a flipped byte", Refused(""), || {
            let mut whole = wat::plugin("", "i32.const 1024", "");
            let middle = whole.len() / 3;
            whole[middle] ^= 0xff;
            whole
        }),
    ]
}
