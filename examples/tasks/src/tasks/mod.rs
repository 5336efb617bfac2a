//! The tasks, one in a file.
//!
//! To add one, write its file and add a line to [`ALL`].

mod cifar10_cnn;
mod cifar10_mlp;
mod diamonds;
mod digits_lora;
mod digits_vit;
mod minilm;
mod mnist_cnn;
mod mnist_mlp;
mod sentiment_lora;
mod sentiment_prompt;
mod sms_head;
mod trec_lora;
mod trec_transformer;

use std::path::Path;

use crate::definition::{Definition, Half};
use crate::error::Error;
use crate::record::{Record, Run};
use crate::task::Task;
use crate::train::train;

pub use diamonds::Diamonds;
pub use digits_lora::DigitsLora;
pub use digits_vit::DigitsVit;

/// A task of which only the definition and the training are known.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// What it is, in numbers.
    pub definition: &'static Definition,
    /// One run, with data from a folder.
    pub train: fn(&Run, &Path) -> Result<Record, Error>,
}

/// The entry of a task.
const fn entry<T: Task>() -> Entry {
    Entry {
        definition: &T::DEFINITION,
        train: train::<T>,
    }
}

/// All tasks, those to explore first.
pub const ALL: &[Entry] = &[
    entry::<digits_vit::DigitsVit>(),
    entry::<mnist_mlp::MnistMlp>(),
    entry::<cifar10_cnn::Cifar10Cnn>(),
    entry::<diamonds::Diamonds>(),
    entry::<trec_lora::TrecLora>(),
    entry::<sentiment_prompt::SentimentPrompt>(),
    entry::<digits_lora::DigitsLora>(),
    entry::<mnist_cnn::MnistCnn>(),
    entry::<cifar10_mlp::Cifar10Mlp>(),
    entry::<trec_transformer::TrecTransformer>(),
    entry::<sentiment_lora::SentimentLora>(),
    entry::<sms_head::SmsHead>(),
];

/// The task of this name.
///
/// ```
/// use tasks::tasks::named;
///
/// assert_eq!(named("diamonds")?.definition.name, "diamonds");
/// assert!(named("diamond").is_err());
/// # Ok::<(), tasks::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Name`].
pub fn named(name: &str) -> Result<Entry, Error> {
    let found = ALL.iter().find(|entry| entry.definition.name == name);
    found.copied().ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|entry| entry.definition.name).collect();
        Error::Name {
            what: "task",
            expected: names.join(", "),
            found: name.into(),
        }
    })
}

/// The definitions of all tasks, or of one half.
pub fn definitions(half: Option<Half>) -> Vec<&'static Definition> {
    let all = ALL.iter().map(|entry| entry.definition);
    all.filter(|definition| half.is_none_or(|half| definition.half == half))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_halves_are_of_one_size_and_names_differ() {
        let names: BTreeSet<&str> = ALL.iter().map(|entry| entry.definition.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(ALL.len() >= 12);
        let [explore, confirm] = [Half::Explore, Half::Confirm].map(|half| definitions(Some(half)));
        assert_eq!(explore.len(), confirm.len());
    }

    #[test]
    fn every_task_can_be_cut_into_twenty_parts() {
        for definition in definitions(None) {
            assert!(definition.steps >= 100, "{}", definition.name);
            assert!(definition.measured_rows > 0 && definition.batch > 0);
        }
    }
}
