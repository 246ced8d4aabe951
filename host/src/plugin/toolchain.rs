//! Finds a toolchain that builds components, and builds them. It changes nobody's rustup toolchains:
//! what it cannot find, it asks for, with the commands.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

const TARGET: &str = "wasm32-wasip2";
/// Of the top `Cargo.toml`: small, and without unwinding.
const PROFILE: &str = "component";
const DEBIAN_PACKAGES: [&str; 5] =
    ["rustc-web", "cargo-web", "rust-web-src", "lld-22", "wasi-libc"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_WASI_LIBC: &str = "/usr/lib/wasm32-wasi";
/// Debian's own `rustc` is much older than what its `rustc-web` brings, and lies in the same place.
const RUST_MINOR_MIN: u32 = 95;
/// Enough of a failed build to see the first error.
const TAIL_LINES: usize = 60;

/// Why there are no components.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// Nothing on this machine can build them.
    #[error(
        "no toolchain for {TARGET} was found ({reason}). Install one of them and start again:\n  \
         rustup target add {TARGET}\n  \
         apt-get install {}    (Debian, beside a Rust from rustup)",
        DEBIAN_PACKAGES.join(" ")
    )]
    Missing { reason: String },
    #[error("{program} cannot be run: {source}")]
    Run { program: String, source: std::io::Error },
    #[error("the components do not build ({status}):\n{tail}")]
    Build { status: std::process::ExitStatus, tail: String },
    #[error("{package} was built, but {} is not there: its crate-type must be cdylib", file.display())]
    NoComponent { package: String, file: PathBuf },
}

/// What builds components here.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Toolchain {
    /// The user's own, with the target installed.
    Installed,
    /// Debian's compiler, with its standard library built from source, and the linkers that come
    /// with the user's Rust.
    Debian { linkers: PathBuf },
}

/// Builds `packages` of `workspace` as components into `target_dir`, and gives their files in the
/// same order. What was built before and has not changed is not built again. `progress` gets a line
/// for each step.
///
/// # Errors
/// See [`ToolchainError`].
pub async fn build_components(
    workspace: &Path,
    target_dir: &Path,
    packages: &[&str],
    progress: impl Fn(&str),
) -> Result<Vec<PathBuf>, ToolchainError> {
    let toolchain = find(&progress).await?;
    run_cargo(cargo_command(&toolchain, workspace, target_dir, packages), &progress).await?;
    packages.iter().map(|package| component_file(target_dir, package)).collect()
}

/// The order matters: what the user installed for this comes first, and what needs an installation
/// last.
async fn find(progress: &impl Fn(&str)) -> Result<Toolchain, ToolchainError> {
    if has_installed_target().await {
        progress("components are built with the installed target wasm32-wasip2");
        return Ok(Toolchain::Installed);
    }
    // Without them Debian's packages are no use, so they are looked for before anything is installed.
    let linkers = linkers().await.ok_or_else(|| ToolchainError::Missing {
        reason: format!("the target {TARGET} is not installed, and wasm-component-ld is not found"),
    })?;
    if debian_flaw().await.is_none() {
        progress("components are built with Debian's rustc-web");
        return Ok(Toolchain::Debian { linkers });
    }
    if let Some(obstacle) = apt_obstacle().await {
        return Err(ToolchainError::Missing {
            reason: format!("the target {TARGET} is not installed, and {obstacle}"),
        });
    }
    progress("components are built with Debian's rustc-web, which apt-get installs now");
    apt_get(&["update"], progress).await?;
    let mut install = vec!["install", "--yes", "--no-install-recommends", "--no-remove"];
    install.extend(DEBIAN_PACKAGES);
    apt_get(&install, progress).await?;
    match debian_flaw().await {
        None => Ok(Toolchain::Debian { linkers }),
        Some(flaw) => Err(ToolchainError::Missing { reason: flaw }),
    }
}

/// rustc knows the target's folder whether it is there or not, so the library in it is looked for.
async fn has_installed_target() -> bool {
    let Some(folder) =
        output("rustc", &["--print", "target-libdir", "--target", TARGET]).await.map(PathBuf::from)
    else {
        return false;
    };
    folder.read_dir().is_ok_and(|files| {
        files.flatten().any(|file| {
            let name = file.file_name();
            name.to_str().is_some_and(|it| it.starts_with("libstd-") && it.ends_with(".rlib"))
        })
    })
}

/// The folder with `wasm-component-ld`, which every Rust from rustup has, for whatever targets.
/// Rustup's own folder is looked at too, for Debian's `rustc` may come first in the path.
async fn linkers() -> Option<PathBuf> {
    let rustup = std::env::home_dir().map(|home| home.join(".cargo/bin/rustc"));
    match linkers_of("rustc").await {
        Some(folder) => Some(folder),
        None => linkers_of(rustup?.to_str()?).await,
    }
}

async fn linkers_of(rustc: &str) -> Option<PathBuf> {
    let sysroot = output(rustc, &["--print", "sysroot"]).await?;
    let version = output(rustc, &["-vV"]).await?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "))?;
    let folder = Path::new(&sysroot).join("lib/rustlib").join(host).join("bin");
    let has = |file: &str| folder.join(file).exists();
    (has("wasm-component-ld") && has("gcc-ld/wasm-ld")).then_some(folder)
}

/// What is missing in Debian's packages, if anything.
async fn debian_flaw() -> Option<String> {
    for file in [DEBIAN_CARGO, DEBIAN_RUSTC, DEBIAN_WASI_LIBC] {
        if !Path::new(file).exists() {
            return Some(format!("{file} is not there"));
        }
    }
    let Some(version) = output(DEBIAN_RUSTC, &["--version"]).await else {
        return Some(format!("{DEBIAN_RUSTC} does not run"));
    };
    if minor_of(&version).is_none_or(|minor| minor < RUST_MINOR_MIN) {
        return Some(format!("{DEBIAN_RUSTC} is too old ({version})"));
    }
    let sysroot = output(DEBIAN_RUSTC, &["--print", "sysroot"]).await.unwrap_or_default();
    let source = Path::new(&sysroot).join("lib/rustlib/src/rust/library/std");
    (!source.exists()).then(|| format!("{} is not there", source.display()))
}

/// 95 of `rustc 1.95.0 (…)`.
fn minor_of(version: &str) -> Option<u32> {
    version.strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
}

/// Why apt-get cannot be used here, if it cannot.
async fn apt_obstacle() -> Option<&'static str> {
    if !Path::new("/etc/debian_version").exists() || !Path::new("/usr/bin/apt-get").exists() {
        return Some("this is not Debian");
    }
    (output("id", &["-u"]).await.as_deref() != Some("0"))
        .then_some("only root may install Debian's packages")
}

async fn apt_get(arguments: &[&str], progress: &impl Fn(&str)) -> Result<(), ToolchainError> {
    let mut command = Command::new("/usr/bin/apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    progress(&format!("apt-get {}", arguments.join(" ")));
    let result = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| ToolchainError::Run { program: "apt-get".into(), source })?;
    if result.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&result.stderr).trim().to_string();
    Err(ToolchainError::Missing { reason: format!("apt-get failed: {words}") })
}

/// What a command prints, or nothing if it fails: a question about the machine, not a step.
async fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    clean(&mut command);
    let result = command.args(arguments).stdin(Stdio::null()).output().await.ok()?;
    let text = String::from_utf8(result.stdout).ok()?;
    result.status.success().then(|| text.trim().to_string())
}

fn cargo_command(
    toolchain: &Toolchain,
    workspace: &Path,
    target_dir: &Path,
    packages: &[&str],
) -> Command {
    let mut command = match toolchain {
        Toolchain::Installed => {
            let mut command = Command::new("cargo");
            clean(&mut command);
            command.arg("build");
            command
        }
        Toolchain::Debian { linkers } => {
            let mut command = Command::new(DEBIAN_CARGO);
            clean(&mut command);
            let wasm_ld = linkers.join("gcc-ld/wasm-ld");
            // Encoded, so that a blank in a path does not split a flag.
            let flags = [
                "-Clink-self-contained=no".into(),
                format!("-Clink-arg=--wasm-ld-path={}", wasm_ld.display()),
                format!("-L{DEBIAN_WASI_LIBC}"),
            ];
            command
                .env("PATH", path_with("/usr/bin"))
                .env("RUSTC", DEBIAN_RUSTC)
                // The standard library is built from source, which a stable compiler does only so.
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_TARGET_WASM32_WASIP2_LINKER", linkers.join("wasm-component-ld"))
                .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
                // An outer cargo points it at the libraries of its own compiler.
                .env_remove("LD_LIBRARY_PATH")
                .args(["build", "-Zbuild-std=std,panic_abort"]);
            command
        }
    };
    command
        .args(["--profile", PROFILE, "--target", TARGET, "--target-dir"])
        .arg(target_dir)
        .args(packages.iter().flat_map(|package| ["--package", package]))
        .current_dir(workspace)
        .env("CARGO_TERM_COLOR", "never")
        .env("CARGO_TERM_PROGRESS_WHEN", "never");
    command
}

fn path_with(first: &str) -> OsString {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(PathBuf::from(first)).chain(std::env::split_paths(&rest));
    // Folders that came out of a PATH go into one again, so this does not fail.
    std::env::join_paths(folders).unwrap_or(rest)
}

/// Takes away what an outer `cargo run` says to its own child: it is about another package, another
/// target and perhaps another compiler.
fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if !is_inherited(&name) {
            command.env_remove(name);
        }
    }
}

/// The user's own configuration of networks and registries stays.
fn is_inherited(name: &OsStr) -> bool {
    const KEPT: [&str; 6] = [
        "CARGO_HOME",
        "CARGO_NET_",
        "CARGO_HTTP_",
        "CARGO_REGISTRY_",
        "CARGO_REGISTRIES_",
        "CARGO_SOURCE_",
    ];
    const TAKEN_AWAY: [&str; 4] = ["CARGO", "RUSTC", "RUSTFLAGS", "RUSTDOC"];
    let name = name.to_string_lossy();
    KEPT.iter().any(|kept| name.starts_with(kept))
        || !TAKEN_AWAY.iter().any(|taken| name.starts_with(taken))
}

async fn run_cargo(mut command: Command, progress: &impl Fn(&str)) -> Result<(), ToolchainError> {
    let failed = |source| ToolchainError::Run { program: "cargo".into(), source };
    // The future may be dropped at Ctrl-C, and must not leave a compiler behind.
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut tail = VecDeque::new();
    if let Some(stderr) = child.stderr.take() {
        let mut lines = BufReader::new(stderr).lines();
        while let Some(line) = lines.next_line().await.map_err(failed)? {
            if is_step(&line) {
                progress(line.trim());
                continue;
            }
            if tail.len() == TAIL_LINES {
                tail.pop_front();
            }
            tail.push_back(line);
        }
    }
    let status = child.wait().await.map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    Err(ToolchainError::Build { status, tail: Vec::from(tail).join("\n") })
}

/// Whether a line of cargo's says what it does, and is no warning or error.
fn is_step(line: &str) -> bool {
    const STEPS: [&str; 7] =
        ["Updating", "Locking", "Downloading", "Downloaded", "Compiling", "Blocking", "Finished"];
    line.starts_with(' ') && STEPS.iter().any(|step| line.trim_start().starts_with(step))
}

/// cargo names a library's file by its crate, whose name has no hyphens.
fn component_file(target_dir: &Path, package: &str) -> Result<PathBuf, ToolchainError> {
    let file =
        target_dir.join(TARGET).join(PROFILE).join(format!("{}.wasm", package.replace('-', "_")));
    if file.is_file() {
        Ok(file)
    } else {
        Err(ToolchainError::NoComponent { package: package.into(), file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outer_cargo_does_not_reach_the_inner_one() {
        for name in [
            "CARGO",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_MANIFEST_DIR",
            "CARGO_PROFILE_RELEASE_LTO",
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTC_BOOTSTRAP",
            "RUSTFLAGS",
            "RUSTDOCFLAGS",
        ] {
            assert!(!is_inherited(OsStr::new(name)), "{name}");
        }
        for name in ["PATH", "HOME", "RUSTUP_HOME", "CARGO_HOME", "CARGO_HTTP_PROXY"] {
            assert!(is_inherited(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn the_minor_version_is_read() {
        assert_eq!(
            minor_of("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)"),
            Some(96)
        );
        assert_eq!(minor_of("rustc 1.63.0"), Some(63));
        assert_eq!(minor_of("gcc 12"), None);
    }

    #[test]
    fn steps_are_shown_and_errors_kept() {
        assert!(is_step("   Compiling serde v1.0.0"));
        assert!(is_step("    Finished `component` profile [optimized] target(s) in 2s"));
        assert!(!is_step("error[E0308]: mismatched types"));
        assert!(!is_step("   |     Compiling"));
        assert!(!is_step("Compiling is what failed"));
    }

    #[test]
    fn both_install_commands_are_printed() {
        let text = ToolchainError::Missing { reason: "nothing is there".into() }.to_string();
        assert!(text.contains("rustup target add wasm32-wasip2"), "{text}");
        assert!(text.contains("apt-get install rustc-web cargo-web rust-web-src lld-22 wasi-libc"));
    }

    #[test]
    fn a_package_without_a_component_is_named() {
        let error = component_file(Path::new("/nowhere"), "my-plugin").unwrap_err();
        assert!(error.to_string().contains("/nowhere/wasm32-wasip2/component/my_plugin.wasm"));
    }
}
