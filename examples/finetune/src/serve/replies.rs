//! Replies in the form of OpenAI's interface.

use serde_json::{Value, json};

use super::request::Interface;
use crate::language::{AnswerNumbers, FinishReason};

/// What all parts of one reply have in common.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub interface: Interface,
    /// A number that no other reply has.
    pub number: String,
    /// Seconds since 1970.
    pub created: u64,
    pub model: String,
    /// Whether a stream ends with the numbers of tokens.
    pub with_usage: bool,
}

impl Reply {
    /// The whole answer.
    pub fn whole(&self, text: &str, reason: FinishReason, numbers: AnswerNumbers) -> Value {
        let choice = match self.interface {
            Interface::Chat => json!({
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": null},
                "logprobs": null,
                "finish_reason": reason.name(),
            }),
            Interface::Completions => json!({
                "index": 0, "text": text, "logprobs": null, "finish_reason": reason.name(),
            }),
        };
        let object = match self.interface {
            Interface::Chat => "chat.completion",
            Interface::Completions => "text_completion",
        };
        let mut reply = self.around(object, json!([choice]));
        reply["usage"] = usage(numbers);
        reply
    }

    /// The first part of a stream, without text. Only a chat has one.
    pub fn first(&self) -> Option<Value> {
        let delta = json!({"role": "assistant", "content": ""});
        (self.interface == Interface::Chat).then(|| self.part(delta, None))
    }

    /// A piece of text.
    pub fn piece(&self, text: &str) -> Value {
        match self.interface {
            Interface::Chat => self.part(json!({"content": text}), None),
            Interface::Completions => self.part(json!(text), None),
        }
    }

    /// The parts after the last piece.
    pub fn last(&self, reason: FinishReason, numbers: AnswerNumbers) -> Vec<Value> {
        let empty = match self.interface {
            Interface::Chat => json!({}),
            Interface::Completions => json!(""),
        };
        let mut parts = vec![self.part(empty, Some(reason))];
        if self.with_usage {
            let mut numbers_part = self.around(self.part_object(), json!([]));
            numbers_part["usage"] = usage(numbers);
            parts.push(numbers_part);
        }
        parts
    }

    fn part(&self, content: Value, reason: Option<FinishReason>) -> Value {
        let key = match self.interface {
            Interface::Chat => "delta",
            Interface::Completions => "text",
        };
        let reason = reason.map(FinishReason::name);
        let mut choice = json!({"index": 0, "logprobs": null, "finish_reason": reason});
        choice[key] = content;
        let mut part = self.around(self.part_object(), json!([choice]));
        if self.with_usage {
            part["usage"] = Value::Null;
        }
        part
    }

    fn part_object(&self) -> &'static str {
        match self.interface {
            Interface::Chat => "chat.completion.chunk",
            Interface::Completions => "text_completion",
        }
    }

    fn around(&self, object: &str, choices: Value) -> Value {
        let kind = match self.interface {
            Interface::Chat => "chatcmpl",
            Interface::Completions => "cmpl",
        };
        json!({
            "id": format!("{kind}-{}", self.number),
            "object": object,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }
}

fn usage(numbers: AnswerNumbers) -> Value {
    json!({
        "prompt_tokens": numbers.prompt_tokens,
        "completion_tokens": numbers.new_tokens,
        "total_tokens": numbers.prompt_tokens + numbers.new_tokens,
    })
}
