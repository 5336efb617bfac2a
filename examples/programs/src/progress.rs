//! How far a run is: one line that is rewritten in a terminal, or a line now and then.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// Time between two lines.
const PAUSE: Duration = Duration::from_secs(10);
/// Letters of the bar.
const WIDTH: usize = 24;

/// A display on standard error. In a terminal it rewrites one line; elsewhere it writes a line after
/// the first step and then every ten seconds.
///
/// ```
/// use programs::progress::Progress;
///
/// let mut progress = Progress::new("iEF seed 1", 8);
/// progress.epoch(1, 1198);
/// progress.trained(32, Some((0.5, 12.0)));
/// progress.finish();
/// ```
#[derive(Debug)]
pub struct Progress {
    label: String,
    /// Whether one line is rewritten.
    rewrites: bool,
    written: Option<Instant>,
    epochs: usize,
    epoch: usize,
    items: usize,
}

impl Progress {
    /// A display of the run `label` over this many epochs.
    pub fn new(label: &str, epochs: usize) -> Self {
        Self {
            label: label.into(),
            rewrites: stderr().is_terminal(),
            written: None,
            epochs,
            epoch: 1,
            items: 0,
        }
    }

    /// Write lines in a terminal too.
    pub fn with_lines(self) -> Self {
        Self {
            rewrites: false,
            ..self
        }
    }

    /// The run has this many epochs.
    pub fn set_epochs(&mut self, epochs: usize) {
        self.epochs = epochs;
    }

    /// An epoch begins, counted from 1, with this many rows to train on.
    pub fn epoch(&mut self, epoch: usize, items: usize) {
        (self.epoch, self.items) = (epoch, items);
    }

    /// This many rows of the epoch are done; loss and milliseconds of the last step, if they are
    /// known.
    pub fn trained(&mut self, done: usize, last_step: Option<(f64, f64)>) {
        if self.rewrites {
            let loss = last_step.map_or(f64::NAN, |(loss, _)| loss);
            let (label, epoch, epochs) = (&self.label, self.epoch, self.epochs);
            // Short, so that a terminal of 80 letters keeps it on one line.
            let bar = self.bar(done);
            self.put(&format!(
                "\r\x1b[2K{label:<14} {bar} epoch {epoch}/{epochs}  loss {loss:.4}"
            ));
        } else if self.is_due() {
            let items = self.items;
            self.line(&match last_step {
                Some((loss, ms)) => {
                    format!("row {done}/{items}  loss {loss:.4}  {ms:.0} ms per step")
                }
                None => format!("row {done}/{items}"),
            });
        }
    }

    /// This many of the rows for validation are done.
    pub fn validated(&mut self, done: usize, items: usize) {
        if !self.rewrites && self.is_due() {
            self.line(&format!("validation row {done}/{items}"));
        }
    }

    /// The run is over: remove the line that was rewritten.
    pub fn finish(&mut self) {
        if self.rewrites {
            self.put("\r\x1b[2K");
        }
    }

    fn is_due(&self) -> bool {
        self.written
            .is_none_or(|written| written.elapsed() >= PAUSE)
    }

    fn line(&mut self, state: &str) {
        let (label, epoch, epochs) = (&self.label, self.epoch, self.epochs);
        self.put(&format!("{label}  epoch {epoch}/{epochs}  {state}\n"));
        self.written = Some(Instant::now());
    }

    /// A reader that is gone is no reason to stop.
    fn put(&self, text: &str) {
        let mut out = stderr();
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }

    fn bar(&self, done: usize) -> String {
        let items = self.items.max(1);
        let [epoch, epochs] = [self.epoch.saturating_sub(1), self.epochs].map(|n| n as f64);
        let passed = epoch * items as f64 + done as f64;
        let share = passed / (epochs * items as f64).max(1.0);
        let filled = (share * WIDTH as f64).round() as usize;
        (0..WIDTH)
            .map(|letter| if letter < filled { '█' } else { '·' })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_full_at_the_end() {
        let mut progress = Progress::new("run", 2);
        progress.epoch(1, 10);
        assert_eq!(progress.bar(5).matches('█').count(), WIDTH / 4);
        progress.epoch(2, 10);
        assert_eq!(progress.bar(10).matches('█').count(), WIDTH);
    }

    #[test]
    fn lines_come_after_the_first_step_and_then_rarely() {
        let mut progress = Progress::new("run", 2).with_lines();
        assert!(progress.is_due());
        progress.trained(1, None);
        assert!(!progress.is_due());
    }
}
