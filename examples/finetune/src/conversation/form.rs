//! The forms in which conversations are written, and how to tell them apart.

use std::fmt;

use programs::printing::quoted_list;
use serde_json::{Map, Value};

use super::columns::{Column, Columns};
use super::turns;

/// The form of the rows of a file.
///
/// ```
/// use finetune::conversation::Form;
///
/// assert_eq!(Form::ShareGpt.to_string(), "ShareGPT (`from` and `value`)");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Form {
    /// OpenAI's: a list `messages` of objects with `role` and `content`.
    Messages,
    /// ShareGPT's: a list `conversations` of objects with `from` and `value`.
    ShareGpt,
    /// Alpaca's: `instruction`, perhaps `input`, and `output`.
    Alpaca,
    /// `prompt` and `completion`, both texts or both lists of messages.
    PromptCompletion,
    /// `question` and `answer`.
    QuestionAnswer,
    /// `text` alone.
    Text,
}

/// All forms; where a row fits several, the first counts. Many data sets repeat a conversation as one text.
const ALL: [Form; 6] = [
    Form::Messages,
    Form::ShareGpt,
    Form::Alpaca,
    Form::PromptCompletion,
    Form::QuestionAnswer,
    Form::Text,
];

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Messages => "messages (`role` and `content`)",
            Self::ShareGpt => "ShareGPT (`from` and `value`)",
            Self::Alpaca => "Alpaca (`instruction`, `input` and `output`)",
            Self::PromptCompletion => "`prompt` and `completion`",
            Self::QuestionAnswer => "`question` and `answer`",
            Self::Text => "`text`",
        })
    }
}

impl Form {
    /// The columns that a row of this form must have.
    pub(super) fn required(self) -> &'static [Column] {
        match self {
            Self::Messages | Self::ShareGpt => &[Column::Messages],
            Self::Alpaca => &[Column::Instruction, Column::Output],
            Self::PromptCompletion => &[Column::Prompt, Column::Completion],
            Self::QuestionAnswer => &[Column::Question, Column::Answer],
            Self::Text => &[Column::Text],
        }
    }

    /// Further columns that it may have.
    fn optional(self) -> &'static [Column] {
        match self {
            Self::Messages | Self::ShareGpt => &[Column::System, Column::Tools],
            Self::Alpaca => &[Column::Input, Column::System],
            Self::PromptCompletion => &[Column::System, Column::Tools],
            Self::QuestionAnswer => &[Column::System],
            Self::Text => &[],
        }
    }

    /// Whether a row has this form.
    pub(super) fn fits(self, row: &Map<String, Value>, columns: &Columns) -> bool {
        match self {
            Self::Messages | Self::ShareGpt => {
                let list = columns.messages(|name| row.contains_key(name));
                list.is_some_and(|name| turns::is_sharegpt(&row[name]) == (self == Self::ShareGpt))
            }
            _ => self
                .required()
                .iter()
                .all(|column| row.contains_key(columns.name(*column))),
        }
    }

    /// The form of a row, by its keys.
    pub(super) fn of(row: &Map<String, Value>, columns: &Columns) -> Result<Self, String> {
        columns.require(row.keys())?;
        let uses = |form: &Form, column: Column| {
            form.required().contains(&column) || form.optional().contains(&column)
        };
        let takes = |form: &&Form| columns.named().all(|(column, _)| uses(form, column));
        let found = ALL
            .iter()
            .filter(takes)
            .find(|form| form.fits(row, columns));
        found.copied().ok_or_else(|| {
            let keys = quoted_list(row.keys());
            let found = if row.is_empty() { "no key".into() } else { format!("the keys {keys}") };
            if row.contains_key("chosen") && row.contains_key("rejected") {
                return format!(
                    "found {found}: pairs of a chosen and a rejected answer are for preference training, expected \
                     `messages`, or `prompt` and `completion`: write each chosen answer as one of these"
                );
            }
            format!(
                "found {found}, expected `messages`, `conversations` (ShareGPT), `instruction` and `output` (Alpaca), \
                 `prompt` and `completion`, `question` and `answer`, or `text`: name other columns, for example \
                 `--column prompt=NAME --column completion=NAME`"
            )
        })
    }

    /// Columns of the file that this form does not read.
    pub(super) fn unused(self, row: &Map<String, Value>, columns: &Columns) -> Vec<String> {
        let own = self.required().iter().chain(self.optional());
        let mut used: Vec<&str> = own.map(|column| columns.name(*column)).collect();
        if matches!(self, Self::Messages | Self::ShareGpt) {
            used.extend(columns.messages(|name| row.contains_key(name)));
        }
        row.keys()
            .filter(|key| !used.contains(&key.as_str()))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn forms_are_recognised_by_their_keys() {
        let usual = Columns::default();
        for (value, expected) in [
            (json!({"messages": [{"role": "user"}]}), Form::Messages),
            (json!({"conversations": [{"role": "user"}]}), Form::Messages),
            (
                json!({"conversations": [{"from": "human"}], "id": 3}),
                Form::ShareGpt,
            ),
            (json!({"messages": [{"from": "human"}]}), Form::ShareGpt),
            (
                json!({"instruction": "", "input": "", "output": "", "text": ""}),
                Form::Alpaca,
            ),
            (
                json!({"prompt": "", "completion": ""}),
                Form::PromptCompletion,
            ),
            (
                json!({"prompt": "", "prompt_id": "", "messages": []}),
                Form::Messages,
            ),
            (json!({"question": "", "answer": ""}), Form::QuestionAnswer),
            (json!({"text": ""}), Form::Text),
        ] {
            assert_eq!(
                Form::of(&row(value.clone()), &usual),
                Ok(expected),
                "{value}"
            );
        }
    }

    #[test]
    fn named_columns_choose_the_form() {
        let columns = Columns::parse(["prompt=q", "completion=a"]).unwrap();
        let both = row(json!({"q": "", "a": "", "text": "", "messages": []}));
        assert_eq!(Form::of(&both, &columns), Ok(Form::PromptCompletion));
        let columns = Columns::parse(["messages=chat"]).unwrap();
        let chat = row(json!({"chat": [{"role": "user"}], "text": "", "id": 1}));
        assert_eq!(Form::of(&chat, &columns), Ok(Form::Messages));
        assert_eq!(Form::Messages.unused(&chat, &columns), ["text", "id"]);
        let absent = Form::of(&row(json!({"text": ""})), &columns).unwrap_err();
        assert_eq!(
            absent,
            "no column `chat` (named by `--column messages=chat`), found `text`"
        );
    }

    #[test]
    fn what_has_no_form_is_named_with_what_was_expected() {
        let usual = Columns::default();
        let found = Form::of(&row(json!({"prompt": "", "response": ""})), &usual).unwrap_err();
        assert!(
            found.starts_with("found the keys `prompt`, `response`, expected `messages`"),
            "{found}"
        );
        let found = Form::of(&Map::new(), &usual).unwrap_err();
        assert!(found.starts_with("found no key, expected"), "{found}");
        let pairs = row(json!({"prompt": "", "chosen": "", "rejected": ""}));
        assert!(Form::of(&pairs, &usual).unwrap_err().contains("preference"));
    }
}
