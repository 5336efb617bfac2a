//! Samples: what a row says, whatever its form was.

use serde_json::Value;

use super::message::{Message, Role};
use super::place::Place;

/// A sample and where it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sample {
    /// What it says.
    pub content: Content,
    /// Where it was read.
    pub place: Place,
}

impl Sample {
    /// A sample that was read there.
    pub fn new(content: Content, place: Place) -> Self {
        Self { content, place }
    }
}

/// What a sample says.
///
/// ```
/// use finetune::conversation::Content;
///
/// let content = Content::Completion { prompt: "4 + 5 =".into(), completion: " 9".into(), system: None };
/// assert_eq!(content.as_chat().unwrap().0.len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Content {
    /// A conversation that ends with an answer.
    Chat {
        /// Who said what.
        messages: Vec<Message>,
        /// The tools that the model may call, as JSON schemas.
        tools: Option<Value>,
    },
    /// An instruction, and what was done.
    Instruction {
        /// What to do.
        instruction: String,
        /// What to do it with; may be empty.
        input: String,
        /// What was done.
        output: String,
        /// Instructions for every answer.
        system: Option<String>,
    },
    /// The beginning of a text, and how it goes on.
    Completion {
        /// The beginning.
        prompt: String,
        /// The rest.
        completion: String,
        /// Instructions for every answer.
        system: Option<String>,
    },
    /// A question and its answer.
    Question {
        /// The question.
        question: String,
        /// The answer.
        answer: String,
        /// Instructions for every answer.
        system: Option<String>,
    },
    /// One text, all of which is learned.
    Text(String),
}

impl Content {
    /// As messages and tools for a chat template: an instruction with its input on the next line, a prompt or a
    /// question is what the user says. `None` for a text, which has no turns.
    pub fn as_chat(&self) -> Option<(Vec<Message>, Option<&Value>)> {
        let turns = |system: &Option<String>, user: String, answer: &str| {
            let system = system.as_ref().map(|text| Message::new(Role::System, text));
            let two = [
                Message::new(Role::User, user),
                Message::new(Role::Assistant, answer),
            ];
            Some((system.into_iter().chain(two).collect(), None))
        };
        match self {
            Self::Chat { messages, tools } => Some((messages.clone(), tools.as_ref())),
            Self::Instruction {
                instruction,
                input,
                output,
                system,
            } => {
                let parts = [instruction.as_str(), input.as_str()];
                let user = parts.into_iter().filter(|part| !part.trim().is_empty());
                turns(system, user.collect::<Vec<_>>().join("\n"), output)
            }
            Self::Completion {
                prompt,
                completion,
                system,
            } => turns(system, prompt.clone(), completion),
            Self::Question {
                question,
                answer,
                system,
            } => turns(system, question.clone(), answer),
            Self::Text(_) => None,
        }
    }

    /// As prompt and answer without a chat template: instructions in the words of Stanford's Alpaca, a question with
    /// a line feed behind it, prompt and completion as they are, a text without a prompt. `None` for a conversation
    /// and where there is a `system`, which need a template.
    pub fn as_plain(&self) -> Option<(String, &str)> {
        match self {
            Self::Instruction {
                instruction,
                input,
                output,
                system: None,
            } => Some((alpaca(instruction, input), output)),
            Self::Completion {
                prompt,
                completion,
                system: None,
            } => Some((prompt.clone(), completion)),
            Self::Question {
                question,
                answer,
                system: None,
            } => Some((format!("{question}\n"), answer)),
            Self::Text(text) => Some((String::new(), text)),
            _ => None,
        }
    }
}

/// The prompt with which Alpaca was trained.
fn alpaca(instruction: &str, input: &str) -> String {
    if input.trim().is_empty() {
        format!(
            "Below is an instruction that describes a task. Write a response that appropriately completes the \
             request.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
        )
    } else {
        format!(
            "Below is an instruction that describes a task, paired with an input that provides further context. Write \
             a response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### \
             Input:\n{input}\n\n### Response:\n"
        )
    }
}
