//! Rows of a known form as samples.

use programs::printing::{quoted_list, short};
use serde_json::{Map, Value};

use super::columns::{Column, Columns};
use super::form::Form;
use super::message::{Message, Role};
use super::sample::Content;
use super::turns;

/// A row as a sample.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Sample {
        content: Content,
        /// Messages at the end that nobody answered.
        unanswered: usize,
    },
    /// A text that is needed is blank.
    Empty,
}

/// Read a row of a known form.
pub(super) fn parse(
    form: Form,
    row: &Map<String, Value>,
    columns: &Columns,
) -> Result<Parsed, String> {
    let fields = Fields { row, columns };
    for column in form.required() {
        if !matches!(form, Form::Messages | Form::ShareGpt) {
            fields.there(*column)?;
        }
    }
    let system = fields
        .optional(Column::System)?
        .filter(|text| !text.trim().is_empty());
    let (content, needed) = match form {
        Form::Messages | Form::ShareGpt => {
            let Some(name) = columns.messages(|name| row.contains_key(name)) else {
                return Err(format!(
                    "no key `messages`, found {}",
                    quoted_list(row.keys())
                ));
            };
            if row[name].is_null() {
                return Ok(Parsed::Empty);
            }
            return chat(turns::messages(name, &row[name])?, &fields, system);
        }
        Form::PromptCompletion if row[columns.name(Column::Prompt)].is_array() => {
            let lists = [Column::Prompt, Column::Completion].map(|column| {
                let name = columns.name(column);
                turns::messages(name, &row[name])
            });
            let [prompt, completion] = lists;
            let mut messages = prompt?;
            for message in &mut messages {
                message.trained = false;
            }
            messages.extend(completion?);
            return chat(messages, &fields, system);
        }
        Form::Alpaca => {
            let instruction = fields.text(Column::Instruction)?;
            let input = fields.optional(Column::Input)?.unwrap_or_default();
            let output = fields.text(Column::Output)?;
            let needed = [format!("{instruction}{input}"), output.clone()];
            (
                Content::Instruction {
                    instruction,
                    input,
                    output,
                    system,
                },
                needed,
            )
        }
        Form::PromptCompletion => {
            let (prompt, completion) = (
                fields.text(Column::Prompt)?,
                fields.text(Column::Completion)?,
            );
            let needed = [prompt.clone(), completion.clone()];
            (
                Content::Completion {
                    prompt,
                    completion,
                    system,
                },
                needed,
            )
        }
        Form::QuestionAnswer => {
            let (question, answer) = (fields.text(Column::Question)?, fields.text(Column::Answer)?);
            let needed = [question.clone(), answer.clone()];
            (
                Content::Question {
                    question,
                    answer,
                    system,
                },
                needed,
            )
        }
        Form::Text => {
            let text = fields.text(Column::Text)?;
            let needed = [text.clone(), text.clone()];
            (Content::Text(text), needed)
        }
    };
    if needed.iter().any(|text| text.trim().is_empty()) {
        return Ok(Parsed::Empty);
    }
    Ok(Parsed::Sample {
        content,
        unanswered: 0,
    })
}

/// The messages of a row as a sample.
fn chat(
    mut messages: Vec<Message>,
    fields: &Fields<'_>,
    system: Option<String>,
) -> Result<Parsed, String> {
    if let Some(system) = system {
        if messages
            .first()
            .is_some_and(|first| matches!(first.role, Role::System | Role::Developer))
        {
            let name = fields.columns.name(Column::System);
            return Err(format!(
                "a system message and the column `{name}`, expected one of them"
            ));
        }
        messages.insert(0, Message::new(Role::System, system));
    }
    let unanswered = turns::in_order(&mut messages)?;
    if messages.iter().any(Message::is_empty) {
        return Ok(Parsed::Empty);
    }
    let tools = fields.tools()?;
    Ok(Parsed::Sample {
        content: Content::Chat { messages, tools },
        unanswered,
    })
}

struct Fields<'r> {
    row: &'r Map<String, Value>,
    columns: &'r Columns,
}

impl Fields<'_> {
    fn there(&self, column: Column) -> Result<&Value, String> {
        let name = self.columns.name(column);
        self.row.get(name).ok_or_else(|| {
            let found = quoted_list(self.row.keys());
            format!("no key `{}`, found {found}", short(name))
        })
    }

    /// A text; null is an empty one.
    fn text(&self, column: Column) -> Result<String, String> {
        let name = self.columns.name(column);
        match self.there(column)? {
            Value::String(text) => turns::checked(name, text),
            Value::Null => Ok(String::new()),
            other => {
                let found = short(&other.to_string());
                Err(format!("`{}`: expected a text, found {found}", short(name)))
            }
        }
    }

    fn optional(&self, column: Column) -> Result<Option<String>, String> {
        if self.row.contains_key(self.columns.name(column)) {
            self.text(column).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Tools as a list of JSON schemas, or as a text that holds one.
    fn tools(&self) -> Result<Option<Value>, String> {
        let name = self.columns.name(Column::Tools);
        let parsed = match self.row.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
            Some(Value::String(text)) => serde_json::from_str(text).map_err(|error| {
                format!(
                    "`{name}`: expected a list in JSON: {error}, found {}",
                    short(text)
                )
            })?,
            Some(value) => value.clone(),
        };
        match parsed {
            Value::Array(list) if list.is_empty() => Ok(None),
            Value::Array(list) if list.iter().all(Value::is_object) => Ok(Some(Value::Array(list))),
            other => {
                let found = short(&other.to_string());
                Err(format!(
                    "`{name}`: expected a list of JSON schemas, found {found}"
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Parsed, String> {
        let columns = Columns::default();
        let row = value.as_object().unwrap();
        parse(Form::of(row, &columns)?, row, &columns)
    }

    fn content(value: Value) -> Content {
        match read(value) {
            Ok(Parsed::Sample { content, .. }) => content,
            other => panic!("{other:?}"),
        }
    }

    fn said(content: &Content) -> Vec<(Role, String)> {
        let (messages, _) = content.as_chat().unwrap();
        messages
            .into_iter()
            .map(|m| (m.role, m.content.unwrap()))
            .collect()
    }

    #[test]
    fn every_form_becomes_turns_and_plain_texts() {
        let alpaca = content(json!({"instruction": "Add.", "input": "4, 5", "output": "9"}));
        let turns = [
            (Role::User, "Add.\n4, 5".into()),
            (Role::Assistant, "9".into()),
        ];
        assert_eq!(said(&alpaca), turns);
        let (prompt, answer) = alpaca.as_plain().unwrap();
        assert!(
            prompt.ends_with("### Instruction:\nAdd.\n\n### Input:\n4, 5\n\n### Response:\n"),
            "{prompt}"
        );
        assert_eq!(answer, "9");
        let short = content(json!({"instruction": "Sing.", "output": "La."}));
        assert_eq!(said(&short)[0].1, "Sing.");
        assert!(!short.as_plain().unwrap().0.contains("Input"));

        let completion = content(json!({"prompt": "4 + 5 =", "completion": " 9"}));
        assert_eq!(completion.as_plain(), Some(("4 + 5 =".into(), " 9")));
        let question = content(json!({"question": "4 + 5?", "answer": "9", "system": "Be brief."}));
        assert_eq!(said(&question)[0], (Role::System, "Be brief.".into()));
        assert_eq!(question.as_plain(), None);
        let question = content(json!({"question": "4 + 5?", "answer": "9", "system": null}));
        assert_eq!(question.as_plain(), Some(("4 + 5?\n".into(), "9")));
        let text = content(json!({"text": "A text."}));
        assert_eq!(text.as_chat(), None);
        assert_eq!(text.as_plain(), Some((String::new(), "A text.")));
    }

    #[test]
    fn answers_in_a_prompt_of_messages_are_not_trained() {
        let user = |text: &str| json!({"role": "user", "content": text});
        let answer = |text: &str| json!({"role": "assistant", "content": text});
        let value =
            json!({"prompt": [user("a"), answer("b"), user("c")], "completion": [answer("d")]});
        let (messages, _) = content(value)
            .as_chat()
            .map(|(m, t)| (m, t.cloned()))
            .unwrap();
        let trained: Vec<bool> = messages.iter().map(|message| message.trained).collect();
        assert_eq!(trained, [false, false, false, true]);
    }

    #[test]
    fn a_column_of_tools_may_be_a_text() {
        let messages =
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]);
        let tool = json!([{"type": "function", "function": {"name": "add"}}]);
        for tools in [tool.clone(), json!(tool.to_string())] {
            let found = content(json!({"messages": messages, "tools": tools}));
            assert!(matches!(found, Content::Chat { tools: Some(found), .. } if found == tool));
        }
        for none in [json!(null), json!(""), json!([]), json!("[]")] {
            let found = content(json!({"messages": messages, "tools": none}));
            assert!(matches!(found, Content::Chat { tools: None, .. }));
        }
    }

    #[test]
    fn rows_without_text_are_empty() {
        for value in [
            json!({"text": " \n"}),
            json!({"text": null}),
            json!({"prompt": "a", "completion": ""}),
            json!({"instruction": "", "input": "", "output": "x"}),
            json!({"question": "a", "answer": null}),
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}]}),
        ] {
            assert_eq!(read(value.clone()), Ok(Parsed::Empty), "{value}");
        }
        // The input of an instruction may be empty, and an input may have no instruction.
        assert!(matches!(
            read(json!({"instruction": "", "input": "4 + 5", "output": "9"})),
            Ok(Parsed::Sample { .. })
        ));
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        let chat = json!([
            {"role": "system", "content": "s"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
        ]);
        for (value, expected) in [
            (json!({"text": 3}), "`text`: expected a text, found 3"),
            (
                json!({"prompt": "a", "completion": ["b"]}),
                "`completion`: expected a text, found [\"b\"]",
            ),
            (
                json!({"prompt": [], "completion": "b"}),
                "`completion`: expected a list of messages, found \"b\"",
            ),
            (
                json!({"question": "a\u{0}", "answer": "b"}),
                "`question`: a NUL character",
            ),
            (
                json!({"messages": chat, "system": "t"}),
                "a system message and the column `system`",
            ),
            (
                json!({"messages": chat, "tools": "[1"}),
                "`tools`: expected a list in JSON",
            ),
            (
                json!({"messages": chat, "tools": {"name": "f"}}),
                "`tools`: expected a list of JSON schemas",
            ),
        ] {
            let found = read(value).unwrap_err();
            assert!(found.contains(expected), "{found}\nexpected {expected}");
        }
    }
}
