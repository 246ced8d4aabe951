//! Tricks that no library would let its user play: they speak to WASI itself.

use tidegate_plugin::{Failure, Receipt};

use crate::{Deed, Payload};

#[cfg(target_arch = "wasm32")]
pub(crate) fn play(deed: Deed, payload: &Payload) -> Result<Receipt, Failure> {
    in_component::play(deed, payload)
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn play(_deed: Deed, _payload: &Payload) -> Result<Receipt, Failure> {
    Err(crate::host_functions::only_in_a_component())
}

#[cfg(target_arch = "wasm32")]
mod in_component {
    use tidegate_plugin::{Failure, Receipt, done, reject, retry};
    use wasip2::cli::stdout::get_stdout;
    use wasip2::clocks::monotonic_clock;
    use wasip2::http::outgoing_handler;
    use wasip2::http::types::{Fields, Method, OutgoingBody, OutgoingRequest, Scheme};
    use wasip2::io::poll::{Pollable, poll};
    use wasip2::io::streams::OutputStream;
    use wasip2::random::insecure::get_insecure_random_bytes;

    use crate::{Deed, Payload};

    pub(super) fn play(deed: Deed, payload: &Payload) -> Result<Receipt, Failure> {
        match deed {
            Deed::WaitForever => monotonic_clock::subscribe_duration(u64::MAX).block(),
            Deed::SpinInHost => loop {
                std::hint::black_box(monotonic_clock::now());
            },
            Deed::PollMany => return Ok(poll_many(payload.count)),
            Deed::PrintFlood => print_flood(payload.count),
            Deed::Zeroes => {
                // Answers only where it was let.
                get_stdout().write_zeroes(u64::MAX).map_err(|error| retry(format!("{error:?}")))?;
            }
            Deed::Exit => std::process::exit(3),
            Deed::InsecureRandom => {
                let bytes = get_insecure_random_bytes(payload.bytes as u64);
                return Ok(done().detail(bytes.len()));
            }
            Deed::LeakPollables => leak_pollables(payload.count),
            Deed::LeakHeaders => return leak_headers(payload),
            Deed::LeakBodies => return leak_bodies(payload.count),
            Deed::LongName => return long_name(payload),
            Deed::RawHeader => return raw_header(payload),
            Deed::TrickleBody => return trickle(payload),
            other => return Err(reject(format!("{other:?} is no trick"))),
        }
        Ok(done())
    }

    /// One poll of the same handle, named so many times.
    fn poll_many(count: u32) -> Receipt {
        let now = monotonic_clock::subscribe_duration(0);
        let list: Vec<&Pollable> = vec![&now; count as usize];
        done().detail(poll(&list).len())
    }

    fn print_flood(count: u32) {
        let stdout = get_stdout();
        let line = [b'x'; 4095].into_iter().chain([b'\n']).collect::<Vec<u8>>();
        for _ in 0..count {
            // Whoever drops it is right.
            let _ = stdout.blocking_write_and_flush(&line);
        }
    }

    fn leak_pollables(count: u32) {
        for _ in 0..count {
            std::mem::forget(monotonic_clock::subscribe_duration(1));
        }
    }

    /// So many lists of headers, each nearly as long as the host takes it; answers the bytes of all.
    fn leak_headers(payload: &Payload) -> Result<Receipt, Failure> {
        let value = vec![b'x'; 1024];
        let mut kept = 0;
        for _ in 0..payload.count {
            let fields = Fields::new();
            // A few more would end the call.
            for _ in 0..24 {
                kept += if fields.append("x-leak", &value).is_ok() { value.len() } else { 0 };
            }
            std::mem::forget(fields);
        }
        Ok(done().detail(kept))
    }

    /// So many requests that are never sent, each with all that the host takes of its body.
    fn leak_bodies(count: u32) -> Result<Receipt, Failure> {
        let mut kept = 0;
        for _ in 0..count {
            let (request, body, stream) = begin(&Method::Put)?;
            loop {
                let room = stream.check_write().unwrap_or(0);
                if room == 0 || stream.write(&vec![b'x'; room as usize]).is_err() {
                    break;
                }
                kept += room;
            }
            std::mem::forget((request, body, stream));
        }
        Ok(done().detail(kept))
    }

    fn begin(method: &Method) -> Result<(OutgoingRequest, OutgoingBody, OutputStream), Failure> {
        let request = OutgoingRequest::new(Fields::new());
        let no_such = || reject("no such request can be made");
        request.set_method(method).map_err(|()| no_such())?;
        let body = request.body().map_err(|()| no_such())?;
        let stream = body.write().map_err(|()| no_such())?;
        Ok((request, body, stream))
    }

    /// A part of a request (`text` says which) of so many bytes; answers whether it was taken.
    fn long_name(payload: &Payload) -> Result<Receipt, Failure> {
        let request = OutgoingRequest::new(Fields::new());
        let text = "x".repeat(payload.bytes);
        let taken = match payload.text.as_str() {
            "authority" => request.set_authority(Some(&text)),
            "method" => request.set_method(&Method::Other(text)),
            "path" => request.set_path_with_query(Some(&format!("/{text}"))),
            "scheme" => request.set_scheme(Some(&Scheme::Other(text))),
            other => return Err(reject(format!("{other} is no part of a request"))),
        };
        Ok(done().detail(taken.is_ok()))
    }

    /// Each header as it is, one by one; answers the names of those that were taken.
    fn raw_header(payload: &Payload) -> Result<Receipt, Failure> {
        let fields = Fields::new();
        let taken = payload
            .headers
            .iter()
            .filter(|(name, value)| fields.append(name, value.as_bytes()).is_ok())
            .map(|(name, _)| name.clone());
        Ok(done().detail(taken.collect::<Vec<_>>()))
    }

    /// A request whose body comes a byte at a time, for ever.
    fn trickle(payload: &Payload) -> Result<Receipt, Failure> {
        let (request, body, stream) = begin(&Method::Put)?;
        let authority = payload.url.trim_start_matches("http://");
        let (authority, _) = authority.split_once('/').unwrap_or((authority, ""));
        let prepared = request.set_scheme(Some(&Scheme::Http)).is_ok()
            && request.set_authority(Some(authority)).is_ok()
            && request.set_path_with_query(Some("/")).is_ok();
        if !prepared {
            return Err(reject("no such request can be made"));
        }
        let answer = outgoing_handler::handle(request, None)
            .map_err(|code| retry(format!("refused at once: {code:?}")))?;
        while stream.blocking_write_and_flush(b"x").is_ok() {
            monotonic_clock::subscribe_duration(payload.ms.max(1) * 1_000_000).block();
        }
        drop((stream, body));
        drop(answer);
        Err(retry("the host took no more of the body"))
    }
}
