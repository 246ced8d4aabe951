//! A small disk of the test's own, to be filled.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tidegate_tests::postgres::{is_root, succeeds};
use tidegate_tests::skip::skip;

/// A file system in memory. Unmounted when it is dropped.
pub(super) struct Volume {
    folder: TempDir,
}

impl Volume {
    /// None, with a line that says so, where this test may not mount.
    pub(super) fn mount(megabytes: u32) -> Option<Self> {
        if !is_root() {
            skip("only root may mount a small disk", "run the tests as root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tidegate-test"]);
        let mounted = mount.arg(folder.path()).output().unwrap();
        if !mounted.status.success() {
            let said = String::from_utf8_lossy(&mounted.stderr).into_owned();
            skip("a small disk cannot be mounted", &said);
            return None;
        }
        Some(Self { folder })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Leaves no byte free.
    pub(super) fn fill(&self) {
        let mut filler = std::fs::File::create(self.filler()).unwrap();
        for piece in [1 << 16, 1 << 12, 1] {
            while filler.write_all(&vec![7; piece]).is_ok() {}
        }
    }

    pub(super) fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Lazily: a server that is just ending may still have files open.
        succeeds(Command::new("umount").arg("-l").arg(self.folder.path()));
    }
}
