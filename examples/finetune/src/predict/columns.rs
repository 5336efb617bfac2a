//! What is read of a row.

use std::path::{Path, PathBuf};

use programs::printing::{quoted_list, short};
use serde_json::{Map, Value};

use super::options::PredictOptions;
use crate::config::{Architecture, DataOptions};
use crate::conversation::{Message, Role};
use crate::data::{Cell, Error};
use crate::problem::Problem;

/// A row with what is predicted of.
#[derive(Debug)]
pub(super) struct Row {
    /// Counted from 1; of pictures in a folder their number.
    pub line: u64,
    /// The columns, in their order.
    pub fields: Map<String, Value>,
    pub item: Item,
    /// What would be right.
    pub label: Option<Cell>,
}

/// What is predicted of.
#[derive(Debug, PartialEq)]
pub(super) enum Item {
    Text {
        first: String,
        second: Option<String>,
    },
    Words(Vec<String>),
    Conversation(Vec<Message>),
    Picture(PathBuf),
}

/// Names of columns.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    pub text: Vec<String>,
    pub second: Option<String>,
    pub label: Vec<String>,
    /// Columns of 0 and 1, one for each label.
    pub flags: Vec<String>,
    /// Whether a text is words, each of which is given a tag.
    pub words: bool,
    /// Whether `messages` may take the place of the text.
    pub messages: bool,
}

impl Columns {
    /// Those that are asked for, or else those of the run.
    pub fn of(
        data: Option<&DataOptions>,
        options: &PredictOptions,
        kind: Architecture,
        problem: Problem,
    ) -> Self {
        let words = problem == Problem::Tokens;
        let is_language = kind == Architecture::Causal;
        let own = data.filter(|_| !is_language);
        let text = options.text_column.clone();
        let usual_data = DataOptions::default();
        let run = own.map(|data| data.text_column.clone());
        // The default is that of texts.
        let run = run.filter(|name| !(words && *name == usual_data.text_column));
        let text = text.or(run);
        let usual: &[&str] = match kind {
            Architecture::Causal => &["prompt", "question", "instruction", "text"],
            Architecture::Vit | Architecture::Dinov2 | Architecture::Mlp => &["image", "file"],
            _ if words => &["tokens", "words", "text"],
            _ => &["text"],
        };
        let is_picture = usual[0] == "image";
        let text = match text {
            Some(text) if !(is_picture && options.text_column.is_none()) => vec![text],
            _ => usual.iter().map(|name| name.to_string()).collect(),
        };
        let second = options.second_column.clone();
        let label = options.label_column.clone();
        let run = own.map(|data| data.label_column.clone());
        let run = run.filter(|name| !(words && *name == usual_data.label_column));
        let label = match label.or(run) {
            Some(label) => vec![label],
            None if words => ["tags", "ner_tags", "labels"].map(String::from).to_vec(),
            None => vec![usual_data.label_column],
        };
        Self {
            text,
            second: second.or_else(|| own.and_then(|data| data.second_column.clone())),
            label,
            flags: own.map_or_else(Vec::new, |data| data.label_columns.clone()),
            words,
            messages: is_language,
        }
    }

    /// A row of these fields.
    pub fn row(
        &self,
        path: &Path,
        line: u64,
        fields: Map<String, Value>,
        folder: Option<&Path>,
    ) -> Result<Row, Error> {
        let refuse = |problem: String| Error::line(path, line, problem);
        let text = |name: &str| match fields.get(name) {
            Some(Value::String(text)) if text.contains('\0') => {
                Err(refuse("a NUL character in a text, expected none".into()))
            }
            Some(Value::String(text)) => Ok(text.trim().to_string()),
            Some(other) => {
                let found = short(&other.to_string());
                let name = short(name);
                Err(refuse(format!("`{name}`: expected a text, found {found}")))
            }
            None => {
                let (name, known) = (short(name), quoted_list(fields.keys()));
                Err(refuse(format!(
                    "no column `{name}`; there is {known} (--text-column and --second-column choose others)"
                )))
            }
        };
        let messages = fields.get("messages").filter(|_| self.messages);
        let item = if let Some(messages) = messages {
            Item::Conversation(conversation(messages).map_err(refuse)?)
        } else if self.words {
            let mut names = self.text.iter();
            let name = names.find(|name| fields.contains_key(*name));
            Item::Words(match name.and_then(|name| fields.get(name)) {
                Some(Value::Array(list)) => words(list).map_err(refuse)?,
                _ => {
                    let first = text(name.unwrap_or(&self.text[0]))?;
                    first.split_whitespace().map(String::from).collect()
                }
            })
        } else {
            let mut names = self.text.iter();
            let name = names.find(|name| fields.contains_key(*name));
            let first = text(name.unwrap_or(&self.text[0]))?;
            match folder {
                Some(folder) => Item::Picture(folder.join(first)),
                None => Item::Text {
                    first,
                    second: self.second.as_deref().map(text).transpose()?,
                },
            }
        };
        Ok(Row {
            line,
            item,
            label: self.label(&fields).map_err(refuse)?,
            fields,
        })
    }

    /// What would be right, if the row says so.
    fn label(&self, fields: &Map<String, Value>) -> Result<Option<Cell>, String> {
        let has_flags = self.flags.iter().all(|name| fields.contains_key(name));
        if has_flags && !self.flags.is_empty() {
            let flags = self
                .flags
                .iter()
                .map(|name| (name.as_str(), plain(&fields[name])));
            return Cell::of_flags(flags).map(Some);
        }
        let label = self.label.iter().find_map(|name| fields.get(name));
        Ok(match label {
            None | Some(Value::Null) => None,
            Some(Value::Array(list)) => Some(Cell::List(list.iter().map(plain).collect())),
            Some(Value::String(tags)) if self.words => {
                let tags = tags.split_whitespace().map(String::from);
                Some(Cell::List(tags.collect()))
            }
            Some(other) => Some(plain(other).trim().to_string())
                .filter(|label| !label.is_empty())
                .map(Cell::Text),
        })
    }
}

/// A value as a text without quotation marks.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The words in a list.
fn words(list: &[Value]) -> Result<Vec<String>, String> {
    let word = |value: &Value| match value {
        Value::String(word) if !word.trim().is_empty() && !word.contains('\0') => {
            Ok(word.trim().to_string())
        }
        other => {
            let found = short(&other.to_string());
            Err(format!("expected a list of words, found {found} in it"))
        }
    };
    list.iter().map(word).collect()
}

/// A list of objects with `role` and `content`.
fn conversation(messages: &Value) -> Result<Vec<Message>, String> {
    let refuse = |found: &Value| {
        let found = short(&found.to_string());
        format!(
            "`messages`: expected a list of objects with `role` (system, user or assistant) and `content`, found {found}"
        )
    };
    let list = messages.as_array().ok_or_else(|| refuse(messages))?;
    if list.is_empty() {
        return Err(refuse(messages));
    }
    let mut found = Vec::new();
    for message in list {
        let role = match message.get("role").and_then(Value::as_str) {
            Some("system") => Role::System,
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            _ => return Err(refuse(message)),
        };
        let content = message.get("content").and_then(Value::as_str);
        found.push(Message::new(role, content.ok_or_else(|| refuse(message))?));
    }
    Ok(found)
}
