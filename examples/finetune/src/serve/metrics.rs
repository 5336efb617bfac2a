//! Numbers about the server, as Prometheus reads them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::language::AnswerNumbers;

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Metrics(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    requests: BTreeMap<(&'static str, u16), u64>,
    answers: BTreeMap<&'static str, u64>,
    prompt_tokens: u64,
    new_tokens: u64,
    running: usize,
    waited: Sum,
    reading: Sum,
    writing: Sum,
}

#[derive(Debug, Default)]
struct Sum {
    seconds: f64,
    count: u64,
}

impl Sum {
    fn add(&mut self, time: Duration) {
        self.seconds += time.as_secs_f64();
        self.count += 1;
    }
}

impl Metrics {
    /// A reply was sent.
    pub fn request(&self, path: &'static str, status: u16) {
        *self.counts().requests.entry((path, status)).or_default() += 1;
    }

    /// An answer began after its request waited so long.
    pub fn begin(&self, waited: Duration) {
        self.counts().waited.add(waited);
    }

    /// An answer ended: with `stop`, `length`, `cancelled`, `timeout`, `cut` or `failed`.
    pub fn end(&self, how: &'static str, numbers: AnswerNumbers) {
        let mut counts = self.counts();
        *counts.answers.entry(how).or_default() += 1;
        counts.prompt_tokens += numbers.prompt_tokens as u64;
        counts.new_tokens += numbers.new_tokens as u64;
        counts.reading.add(numbers.reading);
        counts.writing.add(numbers.writing);
    }

    /// So many answers are being written.
    pub fn running(&self, answers: usize) {
        self.counts().running = answers;
    }

    /// The text format of Prometheus.
    pub fn text(&self, waiting: usize) -> String {
        let counts = self.counts();
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, String)]| {
            let _ = writeln!(
                text,
                "# HELP finetune_{name} {help}\n# TYPE finetune_{name} {kind}"
            );
            for (labels, value) in samples {
                let _ = writeln!(text, "finetune_{name}{labels} {value}");
            }
        };
        let requests = counts.requests.iter().map(|((path, status), count)| {
            let labels = format!("{{path=\"{path}\",status=\"{status}\"}}");
            (labels, count.to_string())
        });
        let requests: Vec<_> = requests.collect();
        family(
            "requests_total",
            "counter",
            "Replies by path and status.",
            &requests,
        );
        let answers = counts.answers.iter();
        let answers = answers.map(|(how, count)| (format!("{{end=\"{how}\"}}"), count.to_string()));
        let answers: Vec<_> = answers.collect();
        family(
            "answers_total",
            "counter",
            "Answers by how they ended.",
            &answers,
        );
        let one = |value: String| [(String::new(), value)];
        let tokens = counts.prompt_tokens.to_string();
        family(
            "prompt_tokens_total",
            "counter",
            "Tokens of prompts.",
            &one(tokens),
        );
        let tokens = counts.new_tokens.to_string();
        family(
            "new_tokens_total",
            "counter",
            "Tokens of answers.",
            &one(tokens),
        );
        family(
            "waiting_requests",
            "gauge",
            "Requests in the queue.",
            &one(waiting.to_string()),
        );
        let running = counts.running.to_string();
        family(
            "running_answers",
            "gauge",
            "Answers that are being written.",
            &one(running),
        );
        for (name, help, sum) in [
            ("waiting_seconds", "Time in the queue.", &counts.waited),
            ("reading_seconds", "Time to read a prompt.", &counts.reading),
            (
                "writing_seconds",
                "Time to write an answer.",
                &counts.writing,
            ),
        ] {
            let _ = writeln!(
                text,
                "# HELP finetune_{name} {help}\n# TYPE finetune_{name} summary"
            );
            let _ = writeln!(
                text,
                "finetune_{name}_sum {}\nfinetune_{name}_count {}",
                sum.seconds, sum.count
            );
        }
        text
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_written_with_their_labels() {
        let metrics = Metrics::default();
        metrics.request("/health", 200);
        metrics.request("/health", 200);
        metrics.request("other", 404);
        metrics.running(2);
        let text = metrics.text(3);
        for line in [
            "finetune_requests_total{path=\"/health\",status=\"200\"} 2",
            "finetune_requests_total{path=\"other\",status=\"404\"} 1",
            "finetune_waiting_requests 3",
            "finetune_running_answers 2",
            "# TYPE finetune_writing_seconds summary",
            "finetune_writing_seconds_count 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
