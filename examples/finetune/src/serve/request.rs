//! What a body asks for.

use std::hash::{BuildHasher, RandomState};

use serde_json::{Value, json};

use super::api_error::ApiError;
use super::fields::{Fields, wrong};
use crate::conversation::Message;
use crate::language::{AnswerRequest, GenerationOptions, PromptText};

/// Stop texts of a request at most.
const STOPS: usize = 16;
/// Fields that do not change an answer here.
const IGNORED: [&str; 7] = [
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
];

/// A request for an answer.
#[derive(Debug, PartialEq)]
pub(super) struct Wanted {
    pub request: AnswerRequest,
    pub stream: bool,
    /// Whether a stream ends with the numbers of tokens.
    pub with_usage: bool,
}

/// Which of the two interfaces a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interface {
    Chat,
    Completions,
}

impl Interface {
    /// The field that holds the prompt.
    pub fn prompt_field(self) -> &'static str {
        match self {
            Self::Chat => "messages",
            Self::Completions => "prompt",
        }
    }

    /// Read the body of a request.
    pub fn parse(self, body: &[u8]) -> Result<Wanted, ApiError> {
        let mut fields = Fields::parse(body)?;
        let prompt = match self {
            Self::Chat => messages(&mut fields)?,
            Self::Completions => plain(&mut fields)?,
        };
        let mut request = AnswerRequest::new(prompt);
        request.model = fields.text("model")?;
        request.options = self.options(&mut fields)?;
        request.stops = fields.texts("stop", STOPS)?;
        if request.stops.iter().any(String::is_empty) {
            return Err(ApiError::field(
                "stop",
                "`stop` holds an empty text, expected texts",
            ));
        }
        let seed = fields.integer("seed", i64::MIN..=i64::MAX)?;
        request.seed = seed.map_or_else(random, |seed| seed as u64);
        let stream = fields.switch("stream")?;
        let with_usage = usage_option(&mut fields)?;
        self.refuse_unsupported(&mut fields)?;
        fields.ignore(&IGNORED);
        fields.finish()?;
        Ok(Wanted {
            request,
            stream,
            with_usage,
        })
    }

    fn options(self, fields: &mut Fields) -> Result<GenerationOptions, ApiError> {
        let mut options = GenerationOptions::default();
        let positive = 1..=i64::MAX;
        let mut most = fields.integer("max_tokens", positive.clone())?;
        if self == Self::Chat {
            // The newer name goes first.
            most = fields.integer("max_completion_tokens", positive)?.or(most);
        }
        options.max_new_tokens = most.and_then(|most| usize::try_from(most).ok());
        options.temperature = fields.number("temperature", 0.0..=2.0)?;
        options.top_p = fields.number("top_p", 0.0..=1.0)?;
        options.top_k = fields.integer("top_k", -1..=i64::MAX)?;
        if options.top_p == Some(0.0) {
            // No share of the probability: the most probable token alone.
            (options.top_p, options.top_k) = (None, Some(1));
        }
        options.repetition_penalty = fields.number("repetition_penalty", 0.01..=100.0)?;
        options.presence_penalty = fields.number("presence_penalty", -2.0..=2.0)?;
        options.frequency_penalty = fields.number("frequency_penalty", -2.0..=2.0)?;
        Ok(options)
    }

    fn refuse_unsupported(self, fields: &mut Fields) -> Result<(), ApiError> {
        fields.neutral("n", &[json!(1)])?;
        fields.neutral("logit_bias", &[json!({})])?;
        if self == Self::Completions {
            fields.neutral("best_of", &[json!(1)])?;
            fields.neutral("echo", &[json!(false)])?;
            fields.neutral("suffix", &[json!("")])?;
            return fields.neutral("logprobs", &[]);
        }
        fields.neutral("logprobs", &[json!(false)])?;
        fields.neutral("top_logprobs", &[json!(0)])?;
        fields.neutral("tools", &[json!([])])?;
        fields.neutral("functions", &[json!([])])?;
        fields.neutral("tool_choice", &[json!("none"), json!("auto")])?;
        fields.neutral("parallel_tool_calls", &[json!(true), json!(false)])?;
        fields.neutral("response_format", &[json!({"type": "text"})])?;
        fields.neutral("modalities", &[json!(["text"])])
    }
}

fn messages(fields: &mut Fields) -> Result<PromptText, ApiError> {
    const NAME: &str = "messages";
    let Some(list) = fields.take(NAME) else {
        return Err(ApiError::field(
            NAME,
            "`messages` is missing, expected a list of messages",
        ));
    };
    if list == json!([]) {
        return Err(ApiError::field(
            NAME,
            "`messages` is empty, expected at least one message",
        ));
    }
    let messages = Message::list(&list);
    let messages = messages.map_err(|error| ApiError::field(NAME, error.to_string()))?;
    Ok(PromptText::Messages(messages))
}

fn plain(fields: &mut Fields) -> Result<PromptText, ApiError> {
    const NAME: &str = "prompt";
    let text = match fields.take(NAME) {
        None => {
            return Err(ApiError::field(
                NAME,
                "`prompt` is missing, expected a text",
            ));
        }
        Some(Value::String(text)) => text,
        Some(Value::Array(list)) => match list.as_slice() {
            [Value::String(text)] => text.clone(),
            _ => {
                return Err(wrong(
                    NAME,
                    &Value::Array(list),
                    "a text, or a list of one text",
                ));
            }
        },
        Some(other) => return Err(wrong(NAME, &other, "a text")),
    };
    Ok(PromptText::Plain(text))
}

/// `stream_options.include_usage`.
fn usage_option(fields: &mut Fields) -> Result<bool, ApiError> {
    const NAME: &str = "stream_options";
    match fields.take(NAME) {
        None => Ok(false),
        Some(Value::Object(options)) => match options.get("include_usage") {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(usage)) => Ok(*usage),
            Some(other) => Err(wrong(NAME, other, "true or false in `include_usage`")),
        },
        Some(other) => Err(wrong(NAME, &other, "an object")),
    }
}

/// A seed for a request that does not give one.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;
    use proptest::prelude::*;

    fn chat(more: Value) -> Result<Wanted, ApiError> {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "a"}]});
        let Value::Object(more) = more else {
            panic!("an object");
        };
        for (name, value) in more {
            body[name] = value;
        }
        Interface::Chat.parse(body.to_string().as_bytes())
    }

    fn param(result: Result<Wanted, ApiError>) -> Value {
        let error = result.unwrap_err().json();
        error["error"]["param"].clone()
    }

    #[test]
    fn settings_are_read() {
        let wanted = chat(json!({
            "temperature": 0, "top_p": 0, "max_tokens": 3, "max_completion_tokens": 4, "stop": "x", "seed": -1,
            "stream": true, "stream_options": {"include_usage": true}, "n": 1, "user": "u", "logprobs": false,
        }));
        let wanted = wanted.unwrap();
        assert!(wanted.stream && wanted.with_usage);
        let request = wanted.request;
        assert_eq!(request.options.max_new_tokens, Some(4));
        assert_eq!(
            (request.options.top_p, request.options.top_k),
            (None, Some(1))
        );
        assert_eq!(
            (request.seed, request.stops),
            (u64::MAX, vec!["x".to_string()])
        );
        let parts =
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "b"}]}]});
        let PromptText::Messages(messages) = chat(parts).unwrap().request.prompt else {
            panic!("messages");
        };
        assert_eq!(messages[0].content.as_deref(), Some("b"));
    }

    #[test]
    fn each_field_out_of_range_is_named() {
        for (name, value) in [
            ("temperature", json!(-1)),
            ("temperature", json!("1")),
            ("temperature", json!(2.1)),
            ("top_p", json!(1.5)),
            ("top_k", json!(-2)),
            ("max_tokens", json!(0)),
            ("max_completion_tokens", json!(1.5)),
            ("stop", json!(["a", 3])),
            ("stop", json!("")),
            ("stop", json!(vec!["a"; 17])),
            ("seed", json!(1e30)),
            ("stream", json!(1)),
            ("stream_options", json!({"include_usage": 3})),
            ("presence_penalty", json!(3)),
            ("frequency_penalty", json!([])),
            ("repetition_penalty", json!(0)),
            ("model", json!(7)),
            ("messages", json!([])),
            ("messages", json!("a")),
            ("messages", json!([{"role": "nobody", "content": "a"}])),
            ("messages", json!([{"role": "user", "content": 3}])),
            ("n", json!(2)),
            ("tools", json!([{"type": "function"}])),
            ("response_format", json!({"type": "json_object"})),
            ("logprobs", json!(true)),
        ] {
            assert_eq!(param(chat(json!({name: value}))), name, "{value}");
        }
        assert_eq!(param(chat(json!({"max_token": 3}))), Value::Null);
        for body in [
            json!({}),
            json!({"prompt": [1, 2]}),
            json!({"prompt": ["a", "b"]}),
        ] {
            let parsed = Interface::Completions.parse(body.to_string().as_bytes());
            assert_eq!(param(parsed), "prompt");
        }
    }

    /// Any JSON, not too deep.
    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            prop_oneof![Just("user"), Just("text"), Just("system")].prop_map(Value::from),
        ];
        let key = prop_oneof!["\\PC{0,6}", "role|content|type|text|include_usage"];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key.clone(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn field() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "model",
            "messages",
            "prompt",
            "max_tokens",
            "max_completion_tokens",
            "temperature",
            "top_p",
            "top_k",
            "stop",
            "seed",
            "stream",
            "stream_options",
            "n",
            "tools",
            "logit_bias",
            "presence_penalty",
            "user",
            "repetition_penalty",
            "response_format",
            "anything",
        ])
    }

    fn check(body: &[u8]) {
        for interface in [Interface::Chat, Interface::Completions] {
            if let Err(error) = interface.parse(body) {
                assert_eq!(error.status, StatusCode::BAD_REQUEST);
                assert!(
                    !error.json()["error"]["message"]
                        .as_str()
                        .unwrap()
                        .is_empty()
                );
            }
        }
    }

    // `PROPTEST_CASES=100000` tries more.
    proptest! {
        #[test]
        fn no_field_brings_the_parser_down(fields in prop::collection::btree_map(field(), json(), 0..5)) {
            let mut body = json!({
                "model": "m", "messages": [{"role": "user", "content": "a"}], "prompt": "a", "max_tokens": 3,
            });
            for (name, value) in fields {
                body[name] = value;
            }
            check(body.to_string().as_bytes());
        }

        #[test]
        fn no_bytes_bring_the_parser_down(
            cut in 0usize..200,
            changes in prop::collection::vec((0usize..200, any::<u8>()), 0..4),
        ) {
            let body = json!({
                "messages": [{"role": "user", "content": [{"type": "text", "text": "é\u{1f600}"}]}], "stop": ["a", "b"],
                "temperature": 0.5, "seed": -3, "stream_options": {"include_usage": true}, "prompt": ["a"],
            });
            let mut bytes = body.to_string().into_bytes();
            for (at, byte) in changes {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            if cut % 3 == 0 {
                bytes.truncate(cut);
            }
            check(&bytes);
        }
    }

    #[test]
    fn without_a_seed_answers_differ() {
        let seed = || chat(json!({})).unwrap().request.seed;
        assert_ne!(seed(), seed());
    }
}
