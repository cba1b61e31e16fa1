//! The end of the process, as everything that runs long sees it: when it begins, and what has not ended yet.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    beginning: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// Says that the process is to end.
    pub fn begin(&self) {
        self.beginning.cancel();
        self.tasks.close();
    }

    /// Ends when shutdown begins; at once if it has begun.
    pub async fn begun(&self) {
        self.beginning.cancelled().await;
    }

    /// Says that the time to end by itself is over.
    pub fn cut_off(&self) {
        self.cut.cancel();
    }

    /// Is cancelled when that time is over.
    pub fn cut(&self) -> CancellationToken {
        self.cut.clone()
    }

    /// Runs a task that the end of the process waits for. The task sees to it that it ends.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Ends when shutdown has begun and every task has ended.
    pub async fn ended(&self) {
        self.tasks.wait().await;
    }
}
