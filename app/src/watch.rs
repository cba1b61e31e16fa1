//! Watches a file for changes, whichever way they are made: written in place, replaced, linked elsewhere.
//!
//! It is the folder that is watched, for a file that is replaced is another file. A change elsewhere in the folder is
//! one too many, never one too few: whoever reads the file compares.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// How long a file gets to come to rest.
const REST: Duration = Duration::from_millis(100);

/// A file that is watched until this is dropped.
pub struct FileWatch {
    changed: Arc<Notify>,
    _watcher: RecommendedWatcher,
}

impl FileWatch {
    /// Watches the file at `path`, which need not be there; its folder must.
    ///
    /// # Errors
    /// When the system cannot watch the folder.
    pub fn new(path: &Path) -> notify::Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let changed = Arc::new(Notify::new());
        let waker = Arc::clone(&changed);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error means that events may have been missed.
            if event.map_or(true, |event| is_change(event.kind)) {
                waker.notify_one();
            }
        })?;
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(Self { changed, _watcher: watcher })
    }

    /// Waits until it may have changed since this was last called.
    pub async fn changed(&self) {
        self.changed.notified().await;
        tokio::time::sleep(REST).await;
    }
}

/// Reading is none: who reads the file upon a change would otherwise never come to an end.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    async fn changes(watch: &FileWatch) -> bool {
        tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn made_written_and_replaced_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("file"), folder.path().join("other"));
        let watch = FileWatch::new(&path).unwrap();
        fs::write(&path, "1").unwrap();
        assert!(changes(&watch).await);
        fs::write(&path, "2").unwrap();
        assert!(changes(&watch).await);
        fs::write(&other, "3").unwrap();
        assert!(changes(&watch).await);
        fs::rename(&other, &path).unwrap();
        assert!(changes(&watch).await);
    }
}
