//! What wit-bindgen makes of the contract. Nothing outside this crate names it: a handler that did
//! would have to change with every version of the generator.
#![allow(missing_docs, reason = "generated; the crate's own types carry the documentation")]
#![allow(unsafe_code, reason = "the component ABI passes pointers into linear memory")]
#![allow(clippy::all, reason = "generated")]
#![allow(
    clippy::cast_lossless,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::allow_attributes_without_reason,
    clippy::semicolon_if_nothing_returned,
    clippy::redundant_closure_for_method_calls,
    clippy::uninlined_format_args,
    unused_qualifications,
    unreachable_pub,
    dead_code,
    rust_2018_idioms,
    reason = "generated"
)]

/// The world of most handlers, and the home of all imports.
pub mod handler_world {
    wit_bindgen::generate!({
        path: "../../wit/v0.1",
        world: "handler-plugin",
        pub_export_macro: true,
        export_macro_name: "export_handler_world",
        generate_unused_types: true,
    });
}

// The contract's worlds with two exports both hold `handler`, and the generator's macros for it would
// clash by name. So the second exports are generated apart; the linker unites the worlds again.

/// `reconciler` alone.
pub mod reconciler_world {
    wit_bindgen::generate!({
        path: "../../wit/v0.1",
        inline: "
            package tidegate:sdk;
            world reconciler-part {
                export tidegate:plugin/reconciler@0.1.1;
            }
        ",
        world: "tidegate:sdk/reconciler-part",
        pub_export_macro: true,
        export_macro_name: "export_reconciler_world",
        with: {
            "tidegate:plugin/types@0.1.1": crate::bindings::handler_world::tidegate::plugin::types,
        },
    });
}

/// `chain` alone.
pub mod chain_world {
    wit_bindgen::generate!({
        path: "../../wit/v0.1",
        inline: "
            package tidegate:sdk;
            world chain-part {
                export tidegate:plugin/chain@0.1.1;
            }
        ",
        world: "tidegate:sdk/chain-part",
        pub_export_macro: true,
        export_macro_name: "export_chain_world",
    });
}
