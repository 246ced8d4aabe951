//! Outbound PUT requests from fresh sandboxes to a server on loopback: no store, no claims.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tidegate::domain::OutboxEvent;
use tidegate::plugin::{
    AuditFile, AuditLog, Manifest, Outbound, Release, SandboxEngine, SecretSource, ServiceError,
    Services, build_components,
};
use tidegate::store::{self, StoreOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::fallible::Fallible;
use crate::report::progress;
use crate::sandbox::{self, Calls};
use crate::scene::Scene;
use crate::services::services;

/// In flight at once: what a target on loopback keeps busy on two cores.
const IN_FLIGHT: usize = 8;
/// Of each request's body.
const BODY_BYTES: usize = 200;

/// What stands between a request and the wire.
#[derive(Clone, Copy)]
pub(crate) enum Checks {
    /// One line of grants, and the record to a log that is off.
    Least,
    /// Fifty lines of grants with methods and paths, a secret to fill in and to look for in the
    /// answer, and the record to a file.
    All,
}

/// Requests a second.
pub(crate) async fn requests_per_second(
    scene: &Scene,
    duration: Duration,
    checks: Checks,
) -> Fallible<f64> {
    let folder = scene.folder("outbound")?;
    let url = format!("sqlite:{}", folder.join("empty.db").display());
    let store = store::open(&url.parse()?, StoreOptions::default()).await?;
    let server = Server::start().await?;
    let outbound = match checks {
        Checks::Least => Outbound::new()?,
        Checks::All => {
            let file = AuditFile::open(folder.join("audit.jsonl"), 64 << 20, 2)?;
            Outbound::new()?.with_audit(AuditLog::File(file))
        }
    };
    let engine = SandboxEngine::start()?.with_outbound(Arc::new(outbound));
    let release = Arc::new(release(scene, &engine, &server, checks).await?);
    let services = Services { secrets: Arc::new(OneSecret), ..services(&store) };
    let event = Arc::new(event(&server, checks)?);
    let rate = Calls { engine, release, services, event }.per_second(IN_FLIGHT, duration).await;
    store.close().await;
    rate
}

async fn release(
    scene: &Scene,
    engine: &SandboxEngine,
    server: &Server,
    checks: Checks,
) -> Fallible<Release> {
    let options = &scene.options;
    let target = options.target_dir.join("components");
    let built = build_components(&options.workspace, &target, &["hostile"], progress).await?;
    let component = std::fs::read(built.first().ok_or("the component was not built")?)?;
    let origin = format!("http://{}", server.address);
    let grants = match checks {
        Checks::Least => format!("{{ origin = \"{origin}\", private = true }}"),
        Checks::All => {
            let line = |n: usize| {
                format!(
                    "{{ origin = \"{origin}\", private = true, methods = [\"PUT\", \"GET\"], \
                     paths = [\"/v{n}/\"] }}"
                )
            };
            (0..50).map(line).collect::<Vec<_>>().join(", ")
        }
    };
    let manifest = format!(
        "name = \"hostile\"\nhandles = [\"NOOP\"]\n[grants]\nhttp = [{grants}]\n\
         secrets = [\"KEY\"]\ntopics = [\"t\"]\nnetworks = [\"eip155:1\"]\n"
    );
    let manifest = Manifest::parse(&manifest, std::path::Path::new("plugin.toml"))?;
    Ok(Release::from_bytes(engine, manifest, &component, None)?)
}

fn event(server: &Server, checks: Checks) -> Fallible<OutboxEvent> {
    let url = format!("http://{}/v49/withdrawals?x=1", server.address);
    let payload = match checks {
        Checks::Least => json!({"do": "call", "url": url, "bytes": BODY_BYTES}),
        Checks::All => {
            json!({"do": "call_with_secret", "text": "KEY", "url": url, "bytes": BODY_BYTES})
        }
    };
    Ok(OutboxEvent { payload: payload.to_string(), ..sandbox::event()? })
}

struct OneSecret;

#[async_trait]
impl SecretSource for OneSecret {
    async fn value(&self, _name: &str) -> Result<String, ServiceError> {
        Ok("a-secret-of-the-bench".into())
    }
}

/// Answers every request with the same few bytes.
struct Server {
    address: std::net::SocketAddr,
    accepting: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    async fn start() -> Fallible<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        Ok(Self { address, accepting: accepting.abort_handle() })
    }
}

async fn serve(mut stream: TcpStream) {
    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 17\r\n\r\n{\"status\":\"done\"}";
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut buffer = Vec::with_capacity(4_096);
    loop {
        while let Some(length) = whole_request(&buffer) {
            buffer.drain(..length);
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
        }
        if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
    }
}

/// How long the first request in the buffer is, once it is there.
fn whole_request(buffer: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length: ";
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let at = buffer[..head].windows(NAME.len()).position(|it| it.eq_ignore_ascii_case(NAME))?;
    let digits = buffer[at + NAME.len()..head].iter().take_while(|byte| byte.is_ascii_digit());
    let body = digits.fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    (buffer.len() >= head + body).then_some(head + body)
}
