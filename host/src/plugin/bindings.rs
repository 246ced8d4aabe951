//! The Rust side of `wit/v0.1`, generated. One world with every export: the host looks up each
//! export apart, so that a component needs none but `handler`.

wasmtime::component::bindgen!({
    path: "../wit/v0.1",
    inline: "
        package tidegate:engine;
        world everything {
            include tidegate:plugin/host@0.1.1;
            export tidegate:plugin/handler@0.1.1;
            export tidegate:plugin/reconciler@0.1.1;
            export tidegate:plugin/chain@0.1.1;
        }
    ",
    world: "tidegate:engine/everything",
    imports: { default: async },
    exports: { default: async },
});

pub(crate) use exports::tidegate::plugin as exported;
// `self`: in documentation tests this crate's own name is in scope, too.
pub(crate) use self::tidegate::plugin as imported;
