//! Where tests put files.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::{env, fs, process};

/// A folder of a test's own, which is removed with all its files when dropped, so also if the test fails.
///
/// It is among the temporary files, as the checkout may be read-only, and the path of the target folder too long for a socket.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let path = env::temp_dir().join(format!("landline-{}-{}", process::id(), LAST.fetch_add(1, SeqCst)));
        // A process that was killed may have left one, whose number another process has now.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a temporary folder can be made");
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it, which is not made.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
