//! What a guest can do by itself.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_plugin::{Failure, FollowUp, Receipt, defer, done, retry_after};

use crate::Payload;

pub(crate) fn trap() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    panic!("a trap")
}

pub(crate) fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

/// Touches what it takes, for memory that is only reserved costs nobody anything.
pub(crate) fn allocate() -> ! {
    const MEBIBYTE: usize = 1024 * 1024;
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(std::hint::black_box(vec![1; MEBIBYTE]));
    }
}

/// Keeps little in linear memory, so that it is the host's stack that ends; and does something
/// after the call, so that no loop can take its place.
pub(crate) fn recurse(depth: u64) -> u64 {
    if std::hint::black_box(depth) == u64::MAX {
        return depth;
    }
    (recurse(depth + 1) ^ depth).rotate_left(1)
}

/// Keeps a page in linear memory for each call, so that it is the guest's own stack that ends.
pub(crate) fn recurse_wide(depth: u64) -> u64 {
    let page = std::hint::black_box([depth; 512]);
    if depth == u64::MAX {
        return depth;
    }
    (recurse_wide(depth + 1) ^ std::hint::black_box(page)[7]).rotate_left(1)
}

pub(crate) fn follow_ups(payload: &Payload) -> Receipt {
    let follow_up = FollowUp { event_type: payload.method.clone(), payload: payload.text.clone() };
    let mut receipt = done();
    receipt.follow_ups = vec![follow_up; payload.count as usize];
    receipt
}

pub(crate) fn retry_after_ms(ms: u64) -> Failure {
    retry_after("again, please", Duration::from_millis(ms))
}

pub(crate) fn defer_ms(ms: u64) -> Failure {
    defer(Duration::from_millis(ms))
}

pub(crate) fn count_calls() -> u32 {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    CALLS.fetch_add(1, Ordering::Relaxed) + 1
}

pub(crate) fn print(text: &str) -> Result<Receipt, Failure> {
    println!("{text}");
    Ok(done())
}

pub(crate) fn panic_with(text: &str) -> ! {
    panic!("{text}")
}

/// Every door that WASI knows and that the host keeps shut: what of it was open.
pub(crate) fn escape(port: u16) -> Value {
    json!({
        "files": std::fs::read_dir("/").is_ok() || std::fs::read("/etc/hostname").is_ok(),
        "written": std::fs::write("escaped", b"out").is_ok(),
        "environment": std::env::vars().count(),
        "arguments": std::env::args().count(),
        "sockets": sockets(port),
    })
}

/// The network functions that did not say no.
#[cfg(target_arch = "wasm32")]
fn sockets(port: u16) -> Vec<&'static str> {
    use wasip2::sockets::instance_network::instance_network;
    use wasip2::sockets::ip_name_lookup::resolve_addresses;
    use wasip2::sockets::network::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
    use wasip2::sockets::{tcp_create_socket, udp_create_socket};

    let address = |port| IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (127, 0, 0, 1) });
    let network = instance_network();
    let tcp = || tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4);
    let connected = tcp().is_ok_and(|socket| socket.start_connect(&network, address(port)).is_ok());
    let listened = tcp().is_ok_and(|socket| socket.start_bind(&network, address(0)).is_ok());
    let bound = udp_create_socket::create_udp_socket(IpAddressFamily::Ipv4)
        .is_ok_and(|socket| socket.start_bind(&network, address(0)).is_ok());
    let resolved = resolve_addresses(&network, "localhost").is_ok_and(|names| {
        names.subscribe().block();
        names.resolve_next_address().is_ok()
    });
    [("connect", connected), ("bind", listened), ("datagram", bound), ("resolve", resolved)]
        .into_iter()
        .filter_map(|(name, open)| open.then_some(name))
        .collect()
}

#[cfg(not(target_arch = "wasm32"))]
fn sockets(_port: u16) -> Vec<&'static str> {
    Vec::new()
}

pub(crate) fn sleep() -> Result<Receipt, Failure> {
    const HOUR_MS: u64 = 3_600_000;
    wait(HOUR_MS)
}

#[cfg(target_arch = "wasm32")]
pub(crate) fn wait(ms: u64) -> Result<Receipt, Failure> {
    let nanoseconds = ms.saturating_mul(1_000_000);
    wasip2::clocks::monotonic_clock::subscribe_duration(nanoseconds).block();
    Ok(done())
}

#[cfg(target_arch = "wasm32")]
pub(crate) fn random(bytes: usize) -> Result<Receipt, Failure> {
    Ok(done().detail(wasip2::random::random::get_random_bytes(bytes as u64).len()))
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn wait(_ms: u64) -> Result<Receipt, Failure> {
    Err(crate::host_functions::only_in_a_component())
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn random(_bytes: usize) -> Result<Receipt, Failure> {
    Err(crate::host_functions::only_in_a_component())
}
