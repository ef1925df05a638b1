//! Ctrl-C and SIGTERM: noticed, so that everything that was started is also stopped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use anyhow::{Result, bail};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Tells whether somebody wants this to end.
pub(crate) struct Interrupt {
    happened: Arc<AtomicBool>,
    signals: mpsc::Receiver<()>,
}

// === impl Interrupt ===

impl Interrupt {
    /// From now on neither signal ends the program by itself.
    pub(crate) fn watch() -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (mut interrupt, mut terminate) = {
            let _context = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let (sender, signals) = mpsc::channel();
        let happened = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&happened);
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            seen.store(true, Ordering::Relaxed);
            // Nobody may be waiting.
            let _ = sender.send(());
        });
        Ok(Self { happened, signals })
    }

    /// Whether a signal came.
    pub(crate) fn happened(&self) -> bool {
        self.happened.load(Ordering::Relaxed)
    }

    /// An error once a signal came.
    pub(crate) fn check(&self) -> Result<()> {
        if self.happened() {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Waits for a signal.
    pub(crate) fn wait(&self) {
        // An error means that the watching thread is gone, and with it the reason to wait.
        let _ = self.signals.recv();
    }
}
