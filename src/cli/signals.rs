//! Being told to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::CliError;

/// What tells a process to stop. As long as this is there, that does not end the process by itself.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// If the system does not let it.
    pub fn new() -> Result<Signals, CliError> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                CliError::failed("NO_SIGNALS", format!("cannot listen for signals: {error}"))
            })
        };
        // Where the size of files is limited, a write beyond it fails as on a full disk and ends no process.
        let _ignored = listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// The name of the next one.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hang_up.recv() => "SIGHUP",
        }
    }
}
