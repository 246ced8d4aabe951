//! What bounds the functions of WASI, and the bounds that they do not have of their own.
//!
//! | interface | what a guest gets, and what bounds it |
//! | --- | --- |
//! | `wasi:cli/environment`, `stdin`, `terminal-*` | nothing: no variables, no arguments, a closed input, no terminal |
//! | `wasi:cli/exit` | ends the call, as a failure |
//! | `wasi:cli/stdout`, `stderr` | 64 KiB a write; the first 16 KiB of a call are kept and become log lines |
//! | `wasi:clocks/*` | the time; a wait of any length is a handle, and ends with `limits.timeout` |
//! | `wasi:filesystem/*` | nothing: no folder is open, so there is no descriptor |
//! | `wasi:http/types` | 32 KiB of headers a `fields`; 2 × 16 KiB of an outgoing body that nobody takes; a method of 32 bytes, an authority of 1 KiB (here), a path of 64 KiB |
//! | `wasi:http/outgoing-handler` | the grants, `limits.requests`, `limits.request_body`, `limits.response_body` |
//! | `wasi:io/poll` | a list is no longer than what may be handed over; it waits no longer than `limits.timeout` |
//! | `wasi:io/streams`, `error` | a read gives what has arrived, a write takes what was permitted |
//! | `wasi:random/*` | `limits.random` bytes at once (here) |
//! | `wasi:sockets/*` | nothing: no socket is made, no name resolved |
//!
//! All of them together: 1,024 resources at the same time, `Limits::hand_over_bytes` in one call,
//! and `limits.timeout`.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::random::{insecure, random};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::{HostOutgoingRequest as _, Method};
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;

use super::super::limits::{LimitReached, size};
use super::super::state::CallState;

/// A host name has 253 bytes at most, and a port six more.
const AUTHORITY_BYTES_MAX: usize = 1 << 10;
/// The longest method that anybody registered has 17.
const METHOD_BYTES_MAX: usize = 32;

/// The exact versions of WASI that are linked: what is bounded here takes the place of theirs.
const HTTP_TYPES: &str = "wasi:http/types@0.2.12";
const RANDOM: &str = "wasi:random/random@0.2.12";
const INSECURE: &str = "wasi:random/insecure@0.2.12";

/// Puts bounds around the functions of WASI that have none: those whose texts the host keeps for as
/// long as the guest holds a handle, and those that do not say which limit was reached.
pub(in crate::plugin) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(HTTP_TYPES)?;
    types.func_wrap("[method]outgoing-request.set-authority", set_authority)?;
    types.func_wrap("[method]outgoing-request.set-method", set_method)?;
    linker.instance(RANDOM)?.func_wrap("get-random-bytes", random_bytes)?;
    linker.instance(INSECURE)?.func_wrap("get-insecure-random-bytes", insecure_bytes)?;
    linker.allow_shadowing(false);
    Ok(())
}

type Answer<T> = wasmtime::Result<(T,)>;
type Request = Resource<HostOutgoingRequest>;

fn set_authority(
    mut context: StoreContextMut<'_, CallState>,
    (request, authority): (Request, Option<String>),
) -> Answer<Result<(), ()>> {
    if authority.as_ref().is_some_and(|it| it.len() > AUTHORITY_BYTES_MAX) {
        return Ok((Err(()),));
    }
    Ok((context.data_mut().http().set_authority(request, authority)?,))
}

fn set_method(
    mut context: StoreContextMut<'_, CallState>,
    (request, method): (Request, Method),
) -> Answer<Result<(), ()>> {
    if matches!(&method, Method::Other(name) if name.len() > METHOD_BYTES_MAX) {
        return Ok((Err(()),));
    }
    Ok((context.data_mut().http().set_method(request, method)?,))
}

fn random_bytes(mut context: StoreContextMut<'_, CallState>, (bytes,): (u64,)) -> Answer<Vec<u8>> {
    check_random(context.data(), bytes)?;
    Ok((random::Host::get_random_bytes(context.data_mut().ctx().ctx.random(), bytes)?,))
}

fn insecure_bytes(
    mut context: StoreContextMut<'_, CallState>,
    (bytes,): (u64,),
) -> Answer<Vec<u8>> {
    check_random(context.data(), bytes)?;
    Ok((insecure::Host::get_insecure_random_bytes(context.data_mut().ctx().ctx.random(), bytes)?,))
}

fn check_random(state: &CallState, bytes: u64) -> Result<(), LimitReached> {
    let max = state.facts.release.manifest.limits.random;
    if bytes <= max {
        return Ok(());
    }
    let max = size(max);
    Err(LimitReached(format!("limit {max} of random bytes at once reached: {bytes} asked for")))
}
