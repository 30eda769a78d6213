//! Tasks and threads have an owner: nothing is spawned but through a [`TaskGroup`].
//!
//! **Invariants.** Stopping cancels, then waits for the end of every task, so that what the tasks used may be freed
//! afterwards. A task that must not end before it is told to takes the whole group down when it does.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, error, info_span, warn};

use super::clock::timeout;

/// Owner of background tasks.
#[derive(Debug, Clone)]
pub struct TaskGroup {
    cancel: CancellationToken,
    failed: CancellationToken,
    /// Guards the set of running tasks and the first failure.
    tasks: Arc<Mutex<Tasks>>,
}

#[derive(Debug, Default)]
struct Tasks {
    running: JoinSet<()>,
    failure: Option<String>,
}

impl TaskGroup {
    /// An empty group.
    #[must_use]
    pub fn new() -> TaskGroup {
        TaskGroup {
            cancel: CancellationToken::new(),
            failed: CancellationToken::new(),
            tasks: Arc::default(),
        }
    }

    /// Cancelled when the group stops; tasks watch it.
    #[must_use]
    pub fn cancelled(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Runs an essential task: if it fails, panics or ends before the group is stopped, the group counts as failed.
    pub fn spawn<F, E>(&self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let group = self.clone();
        let watched = async move {
            // The inner task isolates a panic, so that it is reported like any other failure.
            let outcome = spawn_raw(task.instrument(info_span!("task", name))).await;
            let reason = match outcome {
                Ok(Ok(())) if group.cancel.is_cancelled() => return,
                Ok(Ok(())) => format!("task {name} ended early"),
                Ok(Err(cause)) => format!("task {name} failed: {cause}"),
                Err(cause) => format!("task {name} did not finish: {cause}"),
            };
            group.fail(reason);
        };
        self.lock().running.spawn(watched);
    }

    /// Runs a task that ends by itself, such as the serving of one stream. It watches [`cancelled`](Self::cancelled), so
    /// that stopping does not wait for its natural end. A panic is logged and concerns nobody else.
    pub fn spawn_finite<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let watched = async move {
            if let Err(cause) = spawn_raw(task.instrument(info_span!("task", name))).await {
                error!(%cause, "task {name} did not finish");
            }
        };
        let mut tasks = self.lock();
        // What has ended is forgotten here, so that the set does not grow with every stream ever served.
        while tasks.running.try_join_next().is_some() {}
        tasks.running.spawn(watched);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Declares the group failed, as a task that ends early does. The first reason stays.
    pub fn fail(&self, reason: String) {
        error!(%reason, "stopping");
        self.lock().failure.get_or_insert(reason);
        self.failed.cancel();
    }

    /// Waits until some task has failed; then says why. Waits for ever if none does.
    pub async fn failure(&self) -> String {
        self.failed.cancelled().await;
        self.lock().failure.clone().unwrap_or_default()
    }

    /// Cancels all tasks and waits for them, at most `limit`; says whether all ended.
    pub async fn stop(&self, limit: Duration) -> bool {
        self.cancel.cancel();
        let mut running = std::mem::take(&mut self.lock().running);
        let all = timeout(limit, async {
            while running.join_next().await.is_some() {}
        })
        .await
        .is_ok();
        if !all {
            warn!(
                left = running.len(),
                "tasks did not stop within the time limit and were aborted"
            );
        }
        all
    }
}

impl Default for TaskGroup {
    fn default() -> Self {
        TaskGroup::new()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that spawns tasks"
)]
fn spawn_raw<F>(task: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(task)
}

/// How many threads work on tasks.
#[must_use]
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Starts a named thread, for work that blocks. Its owner keeps the handle and joins it.
///
/// # Errors
/// If the operating system refuses a thread.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that starts threads"
)]
pub fn thread<T, F>(name: &str, work: F) -> std::io::Result<std::thread::JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
}

/// Threads for tasks that give way to all others: when there is more to do than processors do, they get what is left,
/// and about a tenth in any case. Dropping it lets running tasks go without waiting for them.
#[derive(Debug)]
pub struct Background(Option<Runtime>);

impl Background {
    /// Starts as many threads as there are processors, named `name`.
    ///
    /// # Errors
    /// If the operating system refuses one.
    pub fn start(name: &str) -> std::io::Result<Background> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name(name)
            .on_thread_start(give_way)
            .enable_all()
            .build()?;
        Ok(Background(Some(runtime)))
    }

    /// Runs a task whose end is waited for; giving up waiting ends it. `None` if it was not run to its end because the
    /// threads are gone.
    ///
    /// # Panics
    /// If the task does.
    pub fn run<F>(&self, task: F) -> impl Future<Output = Option<F::Output>> + use<F>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let running = self.0.as_ref().map(|runtime| runtime.spawn(task));
        let running = running.map(AbortOnDropHandle::new);
        async move {
            match running?.await {
                Ok(outcome) => Some(outcome),
                Err(cause) if cause.is_panic() => std::panic::resume_unwind(cause.into_panic()),
                Err(_) => None,
            }
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Lets threads of ordinary priority go before the calling one.
pub fn give_way() {
    /// Linux gives it about a tenth of the weight of others.
    const NICE: i32 = 10;
    if let Err(cause) = rustix::process::setpriority_process(None, NICE) {
        warn!(%cause, "cannot lower the priority of a thread");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failing_or_panicking_task_is_reported_by_name() {
        let group = TaskGroup::new();
        group.spawn("applier", async { Err("disk full") });
        assert_eq!(group.failure().await, "task applier failed: disk full");

        let group = TaskGroup::new();
        group.spawn("sender", async {
            if true {
                panic!("boom")
            } else {
                Ok::<(), String>(())
            }
        });
        assert!(
            group
                .failure()
                .await
                .starts_with("task sender did not finish")
        );
    }

    #[tokio::test]
    async fn a_finite_task_may_end_or_panic_without_failing_the_group() {
        let group = TaskGroup::new();
        let (ended, seen) = tokio::sync::oneshot::channel();
        group.spawn_finite("broken stream", async { panic!("boom") });
        group.spawn_finite("stream", async { ended.send(()).unwrap() });
        seen.await.unwrap();
        assert!(group.stop(Duration::from_secs(5)).await);
        assert!(group.lock().failure.is_none());
    }

    #[tokio::test]
    async fn what_runs_in_the_background_ends_when_nobody_waits_for_it() {
        let background = Background::start("aside").unwrap();
        assert_eq!(background.run(async { 7 }).await, Some(7));
        let (held, mut dropped) = tokio::sync::mpsc::channel::<()>(1);
        let waiting = background.run(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        drop(waiting);
        assert_eq!(dropped.recv().await, None);
    }

    #[tokio::test]
    async fn the_threads_of_the_background_give_way_and_others_do_not() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let background = Background::start("aside").unwrap();
        let before = nice();
        let aside = background.run(async move { nice() }).await.unwrap();
        assert!(aside > before, "{aside} and {before}");
        assert_eq!(nice(), before);
    }

    #[tokio::test]
    async fn stopping_waits_for_the_tasks_to_end() {
        let group = TaskGroup::new();
        let ended = Arc::new(Mutex::new(false));
        let (token, seen) = (group.cancelled(), Arc::clone(&ended));
        group.spawn("worker", async move {
            token.cancelled().await;
            tokio::task::yield_now().await;
            *seen.lock().unwrap() = true;
            Ok::<(), String>(())
        });
        assert!(group.stop(Duration::from_secs(5)).await);
        assert!(*ended.lock().unwrap());
    }
}
