//! Classification as text for T5: templates and label words of the paper.

use super::{Task, TextExample};

/// How a task is put to a model that answers in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    question: String,
    /// Names of the first and the second text, where they are named.
    names: Option<[&'static str; 2]>,
    /// The answer of each class.
    pub(super) words: Vec<String>,
}

impl Template {
    /// The paper's template for GLUE; for other tasks a question that lists the classes.
    pub(super) fn new(task: Task, labels: &[String]) -> Self {
        let of = |question: &str, names, words: &[&str]| Self {
            question: question.into(),
            names,
            words: words.iter().map(|word| word.to_string()).collect(),
        };
        let sentences = Some(["S1", "S2"]);
        match task {
            Task::Cola => of(
                "Classify if the following sentence's grammar is acceptable or unacceptable",
                None,
                &["unacceptable", "acceptable"],
            ),
            Task::Sst2 | Task::Sentiment => of(
                "Classify if the following sentence's sentiment is positive or negative",
                None,
                &["negative", "positive"],
            ),
            Task::Qqp => of(
                "Classify if the following Q1 and Q2 are semantically equivalent, answer yes or no",
                Some(["Q1", "Q2"]),
                &["no", "yes"],
            ),
            Task::Mrpc => of(
                "Classify if the following S1 and S2 are semantically equivalent, answer yes or no",
                sentences,
                &["no", "yes"],
            ),
            Task::Mnli | Task::MnliMismatched => of(
                "Predict whether the premise entails the hypothesis, contradicts the hypothesis, \
                 or neither, answer yes, no or maybe",
                Some(["premise", "hypothesis"]),
                &["yes", "maybe", "no"],
            ),
            Task::Qnli => of(
                "Determine whether the context sentence S contains the answer to the question Q, \
                 answer yes or no",
                Some(["Q", "S"]),
                &["yes", "no"],
            ),
            Task::Rte => of(
                "Classify if S1 entailment S2 or not, answer yes or no",
                sentences,
                &["yes", "no"],
            ),
            _ => Self {
                question: format!("Classify the following text, answer {}", choice(labels)),
                names: None,
                words: labels.to_vec(),
            },
        }
    }

    /// The text that the encoder reads.
    pub(super) fn apply(&self, example: &TextExample) -> String {
        let (question, first) = (&self.question, &example.first);
        match (&example.second, self.names) {
            (Some(second), Some([a, b])) => format!("{question}: {a}: {first} {b}: {second}"),
            (Some(second), None) => format!("{question}: S1: {first} S2: {second}"),
            (None, _) => format!("{question}: {first}"),
        }
    }
}

/// The text that a model which answers in words reads of an example.
pub(crate) fn question(task: Task, labels: &[String], example: &TextExample) -> String {
    Template::new(task, labels).apply(example)
}

/// `a, b or c`.
fn choice(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [word] => word.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::glue;

    #[test]
    fn templates_are_those_of_the_paper() {
        let pair = TextExample::new("A.", 0).with_second("B?");
        let apply = |task| Template::new(task, &[]).apply(&pair);
        assert_eq!(
            Template::new(Task::Cola, &[]).apply(&TextExample::new("A.", 0)),
            "Classify if the following sentence's grammar is acceptable or unacceptable: A."
        );
        assert_eq!(
            apply(Task::Mnli),
            "Predict whether the premise entails the hypothesis, contradicts the hypothesis, or \
             neither, answer yes, no or maybe: premise: A. hypothesis: B?"
        );
        assert_eq!(
            apply(Task::Qnli),
            "Determine whether the context sentence S contains the answer to the question Q, \
             answer yes or no: Q: A. S: B?"
        );
        assert_eq!(
            apply(Task::Rte),
            "Classify if S1 entailment S2 or not, answer yes or no: S1: A. S2: B?"
        );
        assert!(apply(Task::Qqp).ends_with("yes or no: Q1: A. Q2: B?"));
    }

    #[test]
    fn label_words_follow_the_order_of_the_classes() {
        let word = |format: &glue::Format, task, label| {
            let labels = glue::names(format);
            let class = labels.iter().position(|name| name == label).unwrap();
            Template::new(task, &labels).words[class].clone()
        };
        assert_eq!(word(&glue::COLA, Task::Cola, "acceptable"), "acceptable");
        assert_eq!(word(&glue::SST2, Task::Sst2, "positive"), "positive");
        assert_eq!(word(&glue::MRPC, Task::Mrpc, "equivalent"), "yes");
        assert_eq!(word(&glue::QQP, Task::Qqp, "duplicate"), "yes");
        assert_eq!(word(&glue::MNLI, Task::Mnli, "entailment"), "yes");
        assert_eq!(word(&glue::MNLI, Task::Mnli, "neutral"), "maybe");
        assert_eq!(word(&glue::MNLI, Task::Mnli, "contradiction"), "no");
        assert_eq!(word(&glue::QNLI, Task::Qnli, "entailment"), "yes");
        assert_eq!(word(&glue::RTE, Task::Rte, "not_entailment"), "no");
    }

    #[test]
    fn other_tasks_list_their_classes() {
        let labels = ["ham", "spam", "news"].map(String::from);
        let template = Template::new(Task::Csv, &labels);
        let single = TextExample::new("Win!", 1);
        let question = "Classify the following text, answer ham, spam or news: ";
        assert_eq!(template.apply(&single), format!("{question}Win!"));
        let pair = template.apply(&single.with_second("Now"));
        assert_eq!(pair, format!("{question}S1: Win! S2: Now"));
        assert_eq!(template.words, labels);
    }
}
