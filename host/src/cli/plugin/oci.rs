//! `tidegate plugin push|pull`: plugins in OCI registries, in the layout that `wkg` uses for
//! components: a config of `application/vnd.wasm.config.v0+json` and exactly one layer. What lies
//! beside the component travels in annotations of the manifest, so that other tools see an
//! ordinary component.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{SecondsFormat, Utc};
use clap::Args;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::{OciDescriptor, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use serde_json::json;

use super::super::error::CliError;
use super::super::output::{print, print_json};
use super::folder::{read_all, write_all};
use crate::plugin::{Admission, Candidate, Interfaces, Release, SandboxEngine};

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";
const LAYER_TYPE: &str = "application/wasm";
/// Where the manifest's proposal travels: the operator's own stays with the operator. In base64, for
/// not every tool that copies an OCI manifest keeps line ends.
const TOML_ANNOTATION: &str = "tidegate.plugin.manifest";
const SIGNATURE_ANNOTATION: &str = "tidegate.plugin.signature";
const WITHIN: std::time::Duration = std::time::Duration::from_secs(30);

#[derive(Args)]
pub(super) struct PushArgs {
    /// The plugin's folder, with plugin.toml and component.wasm
    folder: PathBuf,
    /// Where to: oci://registry.example/team/partner-sync:1.2.3
    reference: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct PullArgs {
    /// Where from: oci://registry.example/team/partner-sync:1.2.3, or …@sha256:…
    reference: String,
    /// The plugin's folder; a plugin.toml that is there is kept
    folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// # Errors
/// The plugin does not load, or the registry refuses it.
pub(super) async fn push(args: PushArgs) -> Result<(), CliError> {
    let reference = parse_reference(&args.reference)?;
    let candidate = read_all(&args.folder)?;
    let interfaces = check(candidate.clone()).await?;
    let Candidate { manifest_text, component, signature, .. } = candidate;
    let bytes = component.len();
    let layer = ImageLayer::new(component, LAYER_TYPE.to_owned(), None);
    let config = config_of(&interfaces, &layer);
    let mut annotations =
        BTreeMap::from([(TOML_ANNOTATION.to_owned(), BASE64_STANDARD.encode(manifest_text))]);
    if let Some(signature) = signature {
        annotations.insert(SIGNATURE_ANNOTATION.to_owned(), BASE64_STANDARD.encode(signature));
    }
    let layers = [layer];
    let mut manifest = OciImageManifest::build(&layers, &config, Some(annotations));
    manifest.media_type = Some(MANIFEST_TYPE.to_owned());
    let digest = manifest.layers.first().map(|layer| layer.digest.clone()).unwrap_or_default();
    let auth = credentials(&reference)?;
    let pushed = client(&reference)
        .push(&reference, &layers, config, &auth, Some(manifest))
        .await
        .map_err(|error| refused(&error, &reference))?;
    if args.json {
        return print_json(&json!({
            "reference": format!("oci://{reference}"),
            "component": digest,
            "bytes": bytes,
            "manifest_url": pushed.manifest_url,
        }));
    }
    print(&format!("pushed {bytes} bytes to oci://{reference}\ncomponent {digest}"))
}

/// # Errors
/// The registry does not have it, or it is no plugin; then nothing is written.
pub(super) async fn pull(args: PullArgs) -> Result<(), CliError> {
    let reference = parse_reference(&args.reference)?;
    let client = client(&reference);
    let refused = |error: OciDistributionError| refused(&error, &reference);
    let auth = credentials(&reference)?;
    let (manifest, _) = client.pull_image_manifest(&reference, &auth).await.map_err(refused)?;
    let layer = the_component(&manifest).map_err(|what| unusable(what, &reference))?;
    let mut component = Bounded::default();
    client.pull_blob(&reference, layer, &mut component).await.map_err(refused)?;
    let annotation = |name| annotation(&manifest, name).map_err(|what| unusable(what, &reference));
    let kept = args.folder.join("plugin.toml").exists();
    let toml = if kept { None } else { annotation(TOML_ANNOTATION)? };
    if !kept && toml.is_none() {
        let what =
            format!("it comes without a plugin.toml, and {} has none", args.folder.display());
        return Err(unusable(what, &reference));
    }
    let signature = annotation(SIGNATURE_ANNOTATION)?;
    let signed = signature.is_some();
    let bytes = component.0.len();
    write_all(&args.folder, toml.as_deref(), signature.as_deref(), &component.0)?;
    if args.json {
        return print_json(&json!({
            "folder": args.folder.display().to_string(),
            "component": layer.digest,
            "bytes": bytes,
            "signed": signed,
            "kept_manifest": kept,
        }));
    }
    let manifest = if kept { "kept your plugin.toml" } else { "with the author's plugin.toml" };
    let signed = if signed { "signed" } else { "not signed" };
    print(&format!(
        "pulled {bytes} bytes into {}, {signed}, {manifest}\ncomponent {}",
        args.folder.display(),
        layer.digest
    ))
}

/// Loads it as a host would: what no host takes does not go to a registry.
async fn check(candidate: Candidate) -> Result<Interfaces, CliError> {
    let place = candidate.origin.clone();
    let failed = |what: String| {
        CliError::failed(what, place.clone(), "correct the plugin, and push it again")
    };
    let engine = SandboxEngine::start().map_err(|error| failed(error.to_string()))?;
    let admitted = Admission::new(engine.clone(), None).admit(candidate).await;
    Ok(admitted.map_err(|error| failed(error.to_string()))?.interfaces(&engine))
}

/// What the layout wants to be told of a component, so that a registry can be searched.
fn config_of(interfaces: &Interfaces, layer: &ImageLayer) -> Config {
    let config = json!({
        "created": Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
        "author": null,
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [layer.sha256_digest()],
        "component": {
            "exports": interfaces.exports,
            "imports": interfaces.imports,
            "target": null,
        },
    });
    Config::new(config.to_string().into_bytes(), CONFIG_TYPE.to_owned(), None)
}

fn the_component(manifest: &OciImageManifest) -> Result<&OciDescriptor, String> {
    let [layer] = manifest.layers.as_slice() else {
        return Err(format!("it has {} layers, and a component has one", manifest.layers.len()));
    };
    if manifest.config.media_type != CONFIG_TYPE || layer.media_type != LAYER_TYPE {
        return Err(format!(
            "it is no WebAssembly component: its config is {}, its layer {}",
            manifest.config.media_type, layer.media_type
        ));
    }
    let fits = usize::try_from(layer.size).is_ok_and(|bytes| bytes <= Release::COMPONENT_BYTES_MAX);
    if fits { Ok(layer) } else { Err(Bounded::TOO_LARGE.to_owned()) }
}

fn annotation(manifest: &OciImageManifest, name: &str) -> Result<Option<String>, String> {
    let Some(text) = manifest.annotations.as_ref().and_then(|all| all.get(name)) else {
        return Ok(None);
    };
    let bytes = BASE64_STANDARD.decode(text).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.map(Some).ok_or_else(|| format!("its annotation {name} is no text in base64"))
}

fn parse_reference(text: &str) -> Result<Reference, CliError> {
    let wrong = |what: String| {
        CliError::failed(what, text, "write it as oci://registry.example/team/name:1.2.3")
    };
    let rest = text.strip_prefix("oci://").ok_or_else(|| wrong("no OCI reference".into()))?;
    rest.parse().map_err(|error| wrong(format!("no OCI reference: {error}")))
}

/// As other tools do: plain HTTP on this machine, HTTPS everywhere else.
fn client(reference: &Reference) -> Client {
    let registry = reference.resolve_registry();
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    let protocol = if local { ClientProtocol::Http } else { ClientProtocol::Https };
    Client::new(ClientConfig {
        protocol,
        // A component is for no platform in particular.
        platform_resolver: None,
        read_timeout: Some(WITHIN),
        connect_timeout: Some(WITHIN),
        ..Default::default()
    })
}

/// What `docker login` and its relatives keep, credential helpers included.
fn credentials(reference: &Reference) -> Result<RegistryAuth, CliError> {
    match docker_credential::get_credential(reference.resolve_registry()) {
        Ok(DockerCredential::UsernamePassword(name, password)) => {
            Ok(RegistryAuth::Basic(name, password))
        }
        Ok(DockerCredential::IdentityToken(token)) => Ok(RegistryAuth::Bearer(token)),
        Err(
            CredentialRetrievalError::ConfigNotFound
            | CredentialRetrievalError::ConfigReadError
            | CredentialRetrievalError::NoCredentialConfigured,
        ) => Ok(RegistryAuth::Anonymous),
        Err(error) => Err(CliError::failed(
            format!("the registry's credentials cannot be read: {error}"),
            "the configuration of docker login",
            "log in again, or correct it",
        )),
    }
}

fn refused(error: &OciDistributionError, reference: &Reference) -> CliError {
    CliError::failed(
        error.to_string(),
        format!("oci://{reference}"),
        "look at the name and the tag; log in with `docker login` where the registry wants it",
    )
}

fn unusable(what: impl Into<String>, reference: &Reference) -> CliError {
    CliError::failed(
        what,
        format!("oci://{reference}"),
        "push it with `tidegate plugin push` or `wkg oci push`",
    )
}

/// Takes no more bytes than a component may have, whatever the registry said of its size.
#[derive(Default)]
struct Bounded(Vec<u8>);

impl Bounded {
    const TOO_LARGE: &str = "the component has more bytes than a host takes";
}

impl tokio::io::AsyncWrite for Bounded {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        if self.0.len().saturating_add(bytes.len()) > Release::COMPONENT_BYTES_MAX {
            return std::task::Poll::Ready(Err(std::io::Error::other(Self::TOO_LARGE)));
        }
        self.0.extend_from_slice(bytes);
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_has_its_scheme() {
        assert!(parse_reference("oci://127.0.0.1:5000/team/a:1").is_ok());
        for bad in ["127.0.0.1:5000/a:1", "oci://", "oci://UPPER/a b", "https://a/b"] {
            let error = parse_reference(bad).unwrap_err().to_string();
            assert!(error.contains("oci://registry.example/team/name:1.2.3"), "{error}");
        }
    }

    #[test]
    fn only_a_component_of_one_layer_is_taken() {
        let layer = |media_type: &str, size| OciDescriptor {
            media_type: media_type.to_owned(),
            size,
            ..Default::default()
        };
        let manifest = |layers: &[OciDescriptor]| OciImageManifest {
            config: layer(CONFIG_TYPE, 2),
            layers: layers.to_vec(),
            ..Default::default()
        };
        let good = layer(LAYER_TYPE, 100);
        assert!(the_component(&manifest(std::slice::from_ref(&good))).is_ok());
        for bad in [
            manifest(&[]),
            manifest(&[good.clone(), good.clone()]),
            manifest(&[layer("application/vnd.oci.image.layer.v1.tar", 100)]),
            manifest(&[layer(LAYER_TYPE, i64::MAX)]),
            manifest(&[layer(LAYER_TYPE, -1)]),
            OciImageManifest { config: layer("application/json", 2), ..manifest(&[good]) },
        ] {
            assert!(the_component(&bad).is_err());
        }
    }
}
