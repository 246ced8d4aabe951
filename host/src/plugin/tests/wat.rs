//! Small components in text form, for what no compiler of Rust would write.

/// A plugin whose core module has these fields, and `handle` and `post` with these bodies. A
/// `handle` that answers 1024, where only zeros lie, answers an empty receipt.
pub(crate) fn plugin(fields: &str, handle: &str, post: &str) -> Vec<u8> {
    binary(&Parts { fields, handle, post, ..Parts::default() }.text())
}

/// What a small plugin is made of. The default does nothing, and is done.
pub(super) struct Parts<'a> {
    /// Imports of the whole, and what the handler is instantiated with.
    pub(super) imports: &'a str,
    pub(super) with: &'a str,
    /// What the handler's component has before its core module, and what that is instantiated with.
    pub(super) before: &'a str,
    pub(super) core_with: &'a str,
    /// The core module: its imports, its memory, its other fields, its functions' bodies.
    pub(super) core_imports: &'a str,
    pub(super) memory: &'a str,
    pub(super) fields: &'a str,
    pub(super) realloc: &'a str,
    pub(super) handle: &'a str,
    pub(super) post: &'a str,
}

impl Default for Parts<'_> {
    fn default() -> Self {
        Self {
            imports: "",
            with: "",
            before: "",
            core_with: "",
            core_imports: "",
            memory: "1",
            fields: "",
            realloc: "global.get $next
                (global.set $next
                    (i32.and
                        (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 7))
                        (i32.const -8)))",
            handle: "i32.const 1024",
            post: "",
        }
    }
}

impl Parts<'_> {
    pub(crate) fn binary(&self) -> Vec<u8> {
        binary(&self.text())
    }

    fn text(&self) -> String {
        let Self { imports, with, before, core_with, core_imports, .. } = self;
        let Self { memory, fields, realloc, handle, post, .. } = self;
        let types = TYPES;
        format!(
            r#"(component
            {imports}
            (component $handler
                {before}
                (core module $module
                    {core_imports}
                    (memory (export "memory") {memory})
                    (global $next (mut i32) (i32.const 4096))
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32) {realloc})
                    (func (export "handle") (param i32) (result i32) {handle})
                    (func (export "post") (param i32) {post})
                    {fields})
                (core instance $core (instantiate $module {core_with}))
                {types}
                (func $handle (param "event" $event) (result (result $receipt (error $failure)))
                    (canon lift (core func $core "handle")
                        (memory (core memory $core "memory"))
                        (realloc (core func $core "realloc"))
                        (post-return (core func $core "post"))))
                (export "handle" (func $handle)))
            (instance $handler-instance (instantiate $handler {with}))
            (export "tidegate:plugin/handler@0.1.0" (instance $handler-instance)))"#
        )
    }
}

/// The types of the contract that a handler exports.
const TYPES: &str = r#"
                (type $event-shape (record
                    (field "id" string)
                    (field "aggregate-type" string)
                    (field "aggregate-id" string)
                    (field "event-type" string)
                    (field "payload" string)
                    (field "idempotency-key" string)
                    (field "attempt" u32)
                    (field "created-at-ms" u64)
                    (field "traceparent" (option string))))
                (export $event "event" (type $event-shape))
                (type $follow-up-shape (record (field "event-type" string) (field "payload" string)))
                (export $follow-up "follow-up" (type $follow-up-shape))
                (type $transition-shape (variant (case "broadcasted") (case "failed" string)))
                (export $transition "transition" (type $transition-shape))
                (type $receipt-shape (record
                    (field "detail" (option string))
                    (field "transition" (option $transition))
                    (field "follow-ups" (list $follow-up))))
                (export $receipt "receipt" (type $receipt-shape))
                (type $retry-shape (record (field "reason" string) (field "after-ms" (option u64))))
                (export $retry "retry" (type $retry-shape))
                (type $failure-shape (variant
                    (case "retry" $retry)
                    (case "unknown" string)
                    (case "defer" u64)
                    (case "reject" string)))
                (export $failure "failure" (type $failure-shape))"#;

/// A component that only imports an empty interface.
pub(super) fn importing(name: &str) -> Vec<u8> {
    binary(&format!(r#"(component (import "{name}" (instance)))"#))
}

/// A component that instantiates a core module so many times.
pub(super) fn with_modules(module: &str, count: usize) -> Vec<u8> {
    let instances = "(core instance (instantiate $module))".repeat(count);
    binary(&format!("(component (core module $module {module}) {instances})"))
}

pub(crate) fn binary(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}
