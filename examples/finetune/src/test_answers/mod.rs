//! Answers that a trained language model writes to questions of the test rows.

mod exact_match;
mod scores;

use std::path::Path;

use burn::tensor::Device;
use programs::files;
use serde::Serialize;

use crate::conversation::{Content, Message, Role, Sample};
use crate::error::Error;
use crate::language::{AnswerRequest, GenerationOptions, Language, Place, PromptText};
use crate::stop::Stop;

pub use exact_match::exact_match;
pub use scores::AnswerScores;

/// The file in a run's folder with the answers, one JSON object per line.
pub const FILE: &str = "answers.jsonl";

/// One answer.
#[derive(Debug, Serialize)]
struct Answered {
    question: String,
    expected: String,
    answer: String,
    right: bool,
}

/// What is asked, and what was expected.
struct Question {
    prompt: PromptText,
    expected: String,
}

impl Question {
    /// The last answer of a conversation is the one to give; a text has no question.
    fn of(sample: &Sample, is_plain: bool) -> Option<Self> {
        if matches!(sample.content, Content::Text(_)) {
            return None;
        }
        if is_plain {
            let (prompt, answer) = sample.content.as_plain()?;
            return Some(Self {
                prompt: PromptText::Plain(prompt),
                expected: answer.into(),
            });
        }
        let (mut messages, _) = sample.content.as_chat()?;
        let last = messages
            .iter()
            .rposition(|message| message.role == Role::Assistant)?;
        messages.truncate(last + 1);
        let expected = messages.pop()?.content?;
        Some(Self {
            prompt: PromptText::Messages(messages),
            expected,
        })
    }

    fn text(&self) -> String {
        match &self.prompt {
            PromptText::Plain(text) => text.clone(),
            PromptText::Messages(messages) => {
                let line = |message: &Message| {
                    let content = message.content.as_deref().unwrap_or_default();
                    format!("{}: {content}", message.role)
                };
                messages.iter().map(line).collect::<Vec<_>>().join("\n")
            }
        }
    }
}

/// Let the model of a finished run answer the questions of these rows with its most probable tokens, and write
/// [`FILE`]. `None` if the user stopped the program.
///
/// # Errors
///
/// Those of [`Language`], and [`Error::Write`].
pub(crate) fn write_answers(
    run: &Path,
    samples: &[Sample],
    max_new_tokens: usize,
    device: &Device,
    stop: &Stop,
) -> Result<Option<AnswerScores>, Error> {
    let place = Place::of(run)?;
    let language = Language::open(&place, device)?;
    let mut answered = Vec::new();
    for question in samples
        .iter()
        .filter_map(|sample| Question::of(sample, place.plain))
    {
        let mut request = AnswerRequest::new(question.prompt.clone());
        request.options = GenerationOptions::greedy(max_new_tokens);
        let mut answer = String::new();
        for piece in language.start(&request)? {
            if stop.requested() {
                return Ok(None);
            }
            answer.push_str(&piece?);
        }
        answered.push(Answered {
            question: question.text(),
            right: exact_match(&question.expected, &answer),
            expected: question.expected,
            answer,
        });
    }
    let mut lines = String::new();
    for answer in &answered {
        let path = run.join(FILE);
        lines += &serde_json::to_string(answer).map_err(|error| Error::write(&path, error))?;
        lines.push('\n');
    }
    files::write(&run.join(FILE), lines)?;
    let right = answered.iter().filter(|answer| answer.right).count();
    Ok(Some(AnswerScores {
        rows: answered.len(),
        exact_match: right as f64 / answered.len().max(1) as f64,
    }))
}
