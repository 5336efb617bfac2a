//! Messages of a conversation.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::data::Error;

/// Names under which data sets hold the reasoning in front of an answer. Templates read the first; the second is for
/// those of gpt-oss.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Instructions for the whole conversation.
    System,
    /// The newer name of [`System`](Self::System) in OpenAI's formats.
    Developer,
    /// The person who asks.
    User,
    /// The model.
    Assistant,
    /// The result of a tool that the model called.
    Tool,
}

impl Role {
    /// The name that templates know.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One message.
///
/// ```
/// use finetune::conversation::{Message, Role};
///
/// let message = Message::new(Role::User, "What is 4 plus 5?");
/// assert_eq!(message.to_json()["content"], "What is 4 plus 5?");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said; an answer that only calls tools has no text.
    pub content: Option<String>,
    /// Other fields, which the template may read: `tool_calls`, `name`, `reasoning_content` and so on.
    pub fields: Map<String, Value>,
    /// Whether an assistant's message may be trained on. It is not where it is part of a `prompt`, or has the
    /// `weight` 0.
    pub trained: bool,
}

impl Message {
    /// A message of text alone.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: Some(content.into()),
            fields: Map::new(),
            trained: role == Role::Assistant,
        }
    }

    /// The messages of a list in OpenAI's or ShareGPT's format, as the readers of files take them.
    ///
    /// ```
    /// use finetune::conversation::Message;
    ///
    /// let list = serde_json::json!([{"role": "user", "content": "Hello"}, {"from": "gpt", "value": "Hi"}]);
    /// assert_eq!(Message::list(&list)?[1].content.as_deref(), Some("Hi"));
    /// # Ok::<(), finetune::data::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Option`] with the number of the message and what is wrong with it.
    pub fn list(value: &Value) -> Result<Vec<Self>, Error> {
        let messages = super::turns::messages("messages", value);
        messages
            .map_err(|problem| Error::option("messages", "messages with role and text", problem))
    }

    /// Tools that the message calls, if any.
    pub fn tool_calls(&self) -> Option<&Vec<Value>> {
        let calls = self.fields.get("tool_calls")?.as_array()?;
        (!calls.is_empty()).then_some(calls)
    }

    /// As templates read it: like `transformers`, with the reasoning under each of its names.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        let reasoning = REASONING.iter().find_map(|name| self.fields.get(*name));
        if let Some(reasoning) = reasoning {
            object.insert("thinking".into(), reasoning.clone());
        }
        object.insert("role".into(), json!(self.role.name()));
        if let Some(content) = &self.content {
            object.insert("content".into(), json!(content));
        }
        for (name, value) in &self.fields {
            object.insert(name.clone(), value.clone());
        }
        if let Some(reasoning) = reasoning {
            object.insert("reasoning_content".into(), reasoning.clone());
        }
        Value::Object(object)
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        let blank = |text: &String| text.trim().is_empty();
        self.content.as_ref().is_none_or(blank) && self.tool_calls().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_is_there_under_the_names_that_templates_read() {
        let mut message = Message::new(Role::Assistant, "9");
        message.fields.insert("reasoning".into(), json!("4 + 5"));
        let json = message.to_json();
        assert_eq!(json["reasoning_content"], "4 + 5");
        assert_eq!(json["thinking"], "4 + 5");
        let keys: Vec<_> = json.as_object().unwrap().keys().collect();
        let expected = [
            "thinking",
            "role",
            "content",
            "reasoning",
            "reasoning_content",
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn a_message_that_calls_a_tool_is_not_empty() {
        let mut message = Message::new(Role::Assistant, "  ");
        assert!(message.is_empty());
        message.fields.insert("tool_calls".into(), json!([]));
        assert!(message.is_empty());
        message
            .fields
            .insert("tool_calls".into(), json!([{"function": {"name": "add"}}]));
        assert!(!message.is_empty());
    }
}
