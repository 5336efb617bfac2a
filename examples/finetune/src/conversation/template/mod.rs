//! Chat templates: the text that a model reads for a conversation.
//!
//! Models come with a template in the language of Jinja2. Here minijinja renders it, set up like the environment of
//! `transformers`; `scripts/compare_templates.py` compares the two on templates of your choice.

mod clock;
mod marks;
mod python;
mod source;
mod special;

use std::ops::Range;
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, ErrorKind};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::{Map, Value as Json};
use tokenizers::Tokenizer;

use super::message::{Message, Role};
use crate::data::Error;

pub use special::SpecialTokens;

/// ChatML, for folders without a template. It marks what the model says.
/// What ChatML needs.
const CHATML_TOKENS: [&str; 2] = ["<|im_start|>", "<|im_end|>"];

const CHATML: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{% if message.role == 'assistant' %}\
                      {% generation %}{{ message.content }}<|im_end|>{% endgeneration %}{% else %}\
                      {{ message.content }}<|im_end|>{% endif %}{{ '\n' }}{% endfor %}\
                      {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
const NAME: &str = "template";
/// Steps that a rendering may take, and its memory in units of 64 bytes. A conversation of a hundred turns takes some
/// ten thousand with the longest templates known.
const FUEL: u64 = 5_000_000;

/// A conversation as text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rendered {
    /// What the model reads.
    pub text: String,
    /// What the model says, in bytes of `text`, if the template marks it with `{% generation %}`.
    pub answers: Option<Vec<Range<usize>>>,
}

/// The template of a model for conversations.
///
/// ```
/// use finetune::conversation::{ChatTemplate, Message, Role, SpecialTokens};
///
/// let template = ChatTemplate::new(
///     "mine",
///     "{% for message in messages %}[{{ message.role }}] {{ message.content }}{{ eos_token }}{% endfor %}",
///     &SpecialTokens::new([("eos_token", "</s>")]),
/// )?;
/// let rendered = template.render(&[Message::new(Role::User, "Hello")], None, false)?;
/// assert_eq!(rendered.text, "[user] Hello</s>");
/// # Ok::<(), finetune::data::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    name: String,
    source: String,
    marks: bool,
    /// Whether it reads contents as lists of parts alone.
    parts: bool,
    environment: Environment<'static>,
    variables: Map<String, Json>,
}

impl ChatTemplate {
    /// From its source; `name` says in messages where it is from.
    ///
    /// # Errors
    ///
    /// [`Error::Template`] for a source that is not Jinja2.
    pub fn new(name: &str, source: &str, special: &SpecialTokens) -> Result<Self, Error> {
        let refuse = |error: &minijinja::Error| Error::template(name, problem(error));
        let mut environment = Environment::new();
        let mut syntax = SyntaxConfig::builder();
        let syntax = syntax.trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| refuse(&error))?);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.set_fuel(Some(FUEL));
        environment.add_filter("tojson", python::tojson);
        // Unlike here, none is not iterable in Python; templates ask `tools is iterable` before they ask its length.
        environment.add_test("iterable", |value: &Value| {
            !value.is_none() && value.try_iter().is_ok()
        });
        environment.add_filter(marks::FILTER, marks::mark);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<Value, minijinja::Error> {
                Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        let (rewritten, marks) = marks::rewrite(source);
        environment
            .add_template_owned(NAME, rewritten)
            .map_err(|error| refuse(&error))?;
        let tokens = special
            .iter()
            .map(|(role, token)| (role.to_string(), Json::from(token)));
        let template = Self {
            name: name.into(),
            source: source.into(),
            marks,
            parts: false,
            environment,
            variables: tokens.collect(),
        };
        Ok(template.with_time(clock::now()).with_parts_if_needed())
    }

    /// That of a model folder: `chat_template.jinja`, or `chat_template` in `tokenizer_config.json`, where a list has
    /// several by `name` (`default` if there is none). `None` for a folder without a template.
    ///
    /// # Errors
    ///
    /// [`Error::File`] for files that are damaged, [`Error::Missing`] if there is none of that name, and as
    /// [`new`](Self::new).
    pub fn from_folder(folder: &Path, name: Option<&str>) -> Result<Option<Self>, Error> {
        let special = SpecialTokens::from_folder(folder)?;
        let found = source::find(folder, name)?;
        found
            .map(|(place, source)| Self::new(&place, &source, &special))
            .transpose()
    }

    /// That of a model folder or GGUF file; otherwise [`chatml`](Self::chatml) if the model's tokenizer has its tokens, and
    /// `None` if it has not.
    ///
    /// # Errors
    ///
    /// As [`from_folder`](Self::from_folder).
    pub fn of_model(
        folder: &Path,
        name: Option<&str>,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Self>, Error> {
        let own = Self::from_folder(folder, name)?;
        let is_chatml = || {
            CHATML_TOKENS
                .iter()
                .all(|token| tokenizer.token_to_id(token).is_some())
        };
        Ok(own.or_else(|| is_chatml().then(Self::chatml)))
    }

    /// ChatML: `<|im_start|>user`, a line feed, the text and `<|im_end|>`. For models without a template whose
    /// tokenizer has these two tokens.
    pub fn chatml() -> Self {
        Self::new("ChatML (built in)", CHATML, &SpecialTokens::default()).expect("a valid template")
    }

    /// Templates of models for pictures print texts only as parts of a list, and drop or refuse others.
    fn with_parts_if_needed(self) -> Self {
        const PROBE: &str = "probe";
        let message = [Message::new(Role::User, PROBE)];
        let prints = |template: &Self| {
            let rendered = template.render(&message, None, false);
            rendered.is_ok_and(|rendered| rendered.text.contains(PROBE))
        };
        if prints(&self) {
            return self;
        }
        let other = Self {
            parts: true,
            ..self.clone()
        };
        if prints(&other) { other } else { self }
    }

    /// The time that `strftime_now` gives, in seconds since 1970-01-01 00:00 UTC; otherwise that of the call of
    /// [`new`](Self::new). Runs that are to be repeated must render with the same time.
    pub fn with_time(mut self, seconds: i64) -> Self {
        self.environment
            .add_function("strftime_now", move |format: String| {
                clock::format(seconds, &format)
            });
        self
    }

    /// A variable that the template reads, such as `enable_thinking`.
    pub fn with_variable(mut self, name: &str, value: impl Into<Json>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// Where it is from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it reads the content of a message as a list of parts (`[{"type": "text", "text": …}]`) and not as a
    /// text, as those of models for pictures do; it is given one then.
    pub fn takes_parts(&self) -> bool {
        self.parts
    }

    /// Whether it marks what the model says, with `{% generation %}`.
    pub fn marks_answers(&self) -> bool {
        self.marks
    }

    /// A conversation as text; with `add_generation_prompt` the text goes on to where the model's answer begins.
    ///
    /// # Errors
    ///
    /// [`Error::Template`] with the template's own words if it refuses the conversation, or with what is wrong with
    /// the template; also for tools that the template does not print.
    pub fn render(
        &self,
        messages: &[Message],
        tools: Option<&Json>,
        add_generation_prompt: bool,
    ) -> Result<Rendered, Error> {
        let refuse = |problem: String| Error::template(&self.name, problem);
        let printed = |name: &str| {
            if self.source.contains(name) {
                Ok(())
            } else {
                Err(refuse(format!(
                    "it does not print `{name}`, which the conversation has"
                )))
            }
        };
        if tools.is_some() {
            printed("tools")?;
        }
        if messages
            .iter()
            .any(|message| message.tool_calls().is_some())
        {
            printed("tool_calls")?;
        }
        let context = self.context(messages, tools, add_generation_prompt);
        if marks::is_marked(&Json::Object(context.clone()).to_string()) {
            return Err(refuse(
                "U+FDD0 or U+FDD1 in a message, which Unicode has for no text: remove them".into(),
            ));
        }
        let (text, answers) = self.split(&context)?;
        Ok(Rendered {
            text,
            answers: self.marks.then_some(answers),
        })
    }

    /// Like [`render`](Self::render), but what is found are the texts that are messages' `content`, where `part` says
    /// which range of it, if any.
    pub(super) fn locate(
        &self,
        messages: &[Message],
        tools: Option<&Json>,
        part: &dyn Fn(usize, &str) -> Option<Range<usize>>,
    ) -> Result<(String, Vec<Range<usize>>), Error> {
        let mut messages = messages.to_vec();
        for (place, message) in messages.iter_mut().enumerate() {
            if let Some(content) = &mut message.content
                && let Some(range) = part(place, content)
            {
                let marked = marks::mark(content[range.clone()].to_string());
                content.replace_range(range, &marked);
            }
        }
        self.unmarked()
            .split(&self.context(&messages, tools, false))
    }

    fn context(
        &self,
        messages: &[Message],
        tools: Option<&Json>,
        add_generation_prompt: bool,
    ) -> Map<String, Json> {
        let json = |message: &Message| {
            let mut json = message.to_json();
            if self.parts
                && let Some(content) = json.get_mut("content")
            {
                *content = serde_json::json!([{"type": "text", "text": content.take()}]);
            }
            json
        };
        let messages: Vec<Json> = messages.iter().map(json).collect();
        let mut context = self.variables.clone();
        // As in `transformers`, what there is not is none, and not undefined.
        context.insert("tools".into(), tools.cloned().unwrap_or_default());
        context.insert("documents".into(), Json::Null);
        context.insert("messages".into(), Json::Array(messages));
        context.insert("add_generation_prompt".into(), add_generation_prompt.into());
        context
    }

    /// The text without marks, and what was between them.
    fn split(&self, context: &Map<String, Json>) -> Result<(String, Vec<Range<usize>>), Error> {
        let refuse = |error: minijinja::Error| Error::template(&self.name, problem(&error));
        let template = self.environment.get_template(NAME).map_err(refuse)?;
        let marked = template
            .render(Value::from(Serde(context)))
            .map_err(refuse)?;
        Ok(marks::split(&marked))
    }

    /// Without marks of its own.
    fn unmarked(&self) -> Self {
        let mut other = self.clone();
        other
            .environment
            .add_filter(marks::FILTER, |text: String| text);
        other
    }
}

/// What is wrong, with the line of the template.
fn problem(error: &minijinja::Error) -> String {
    let detail = error
        .detail()
        .map_or_else(|| error.kind().to_string(), String::from);
    let detail = match error.kind() {
        ErrorKind::SyntaxError => format!("a syntax error: {detail}"),
        ErrorKind::OutOfFuel => "it does not come to an end, or makes a text without end".into(),
        _ => detail,
    };
    let detail = programs::printing::message(&detail);
    error
        .line()
        .map_or(detail.clone(), |line| format!("line {line}: {detail}"))
}

/// The text of the chat template of a folder, if it has one.
pub(crate) fn template_text(folder: &Path) -> Result<Option<String>, Error> {
    let found = source::find(folder, None)?;
    Ok(found.map(|(_, template)| template))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(texts: &[&str]) -> Vec<Message> {
        let roles = [Role::User, Role::Assistant].into_iter().cycle();
        texts
            .iter()
            .zip(roles)
            .map(|(text, role)| Message::new(role, *text))
            .collect()
    }

    fn refused(source: &str) -> String {
        let template = ChatTemplate::new("t", source, &SpecialTokens::default());
        let rendered =
            template.and_then(|template| template.render(&chat(&["a", "b"]), None, false));
        rendered.unwrap_err().to_string()
    }

    #[test]
    fn chatml_marks_each_answer_with_its_end() {
        let template = ChatTemplate::chatml();
        let rendered = template
            .render(&chat(&["4 + 5?", "9", "Thanks."]), None, true)
            .unwrap();
        let turns = "<|im_start|>user\n4 + 5?<|im_end|>\n<|im_start|>assistant\n9<|im_end|>\n";
        assert_eq!(
            rendered.text,
            format!("{turns}<|im_start|>user\nThanks.<|im_end|>\n<|im_start|>assistant\n")
        );
        let answers: Vec<&str> = rendered
            .answers
            .unwrap()
            .into_iter()
            .map(|range| &rendered.text[range])
            .collect();
        assert_eq!(answers, ["9<|im_end|>"]);
    }

    #[test]
    fn blocks_take_their_line_with_them() {
        let source = "{%- for m in messages %}\n    {% if m.role == 'user' %}\n{{ m.content }}\n    {% endif %}\n{% endfor %}";
        let template = ChatTemplate::new("t", source, &SpecialTokens::default()).unwrap();
        assert!(!template.marks_answers());
        let rendered = template
            .render(&chat(&["a", "b", "c"]), None, false)
            .unwrap();
        assert_eq!(
            rendered,
            Rendered {
                text: "a\nc\n".into(),
                answers: None
            }
        );
    }

    #[test]
    fn templates_for_pictures_are_given_lists_of_parts() {
        let parts = "{% for m in messages %}{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}|{% endif %}\
                     {% endfor %}{% endfor %}";
        let template = ChatTemplate::new("t", parts, &SpecialTokens::default()).unwrap();
        assert!(template.takes_parts() && !ChatTemplate::chatml().takes_parts());
        let rendered = template.render(&chat(&["a", "b"]), None, false).unwrap();
        assert_eq!(rendered.text, "a|b|");
    }

    #[test]
    fn time_and_variables_are_given() {
        let source = "{{ strftime_now('%d %b %Y') }} {{ enable_thinking }} {{ tools is none }} {{ documents is none }}";
        let template = ChatTemplate::new("t", source, &SpecialTokens::default()).unwrap();
        let template = template
            .with_time(0)
            .with_variable("enable_thinking", false);
        let rendered = template.render(&chat(&["a"]), None, false).unwrap();
        assert_eq!(rendered.text, "01 Jan 1970 False True True");
    }

    #[test]
    fn templates_that_fail_say_where_and_why() {
        for (source, expected) in [
            (
                "{{ raise_exception('System role not supported') }}",
                "chat template t: line 1: System role not supported",
            ),
            ("a\n{% for %}", "chat template t: line 2: a syntax error"),
            (
                "{{ messages[0].content.nothing.more }}",
                "line 1: undefined value",
            ),
            ("{{ 'a' | nothing }}", "filter nothing is unknown"),
            ("{{ nothing() }}", "nothing is unknown"),
            ("{% generation %}a", "syntax error"),
            (
                "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
                "does not come to an end",
            ),
            (
                "{% set n = namespace(t='aaaaaaaa') %}{% for i in range(60) %}{% set n.t = n.t ~ n.t %}{% endfor %}",
                "does not come to an end",
            ),
            ("{{ 'a' * 4000000000 }}", ""),
            ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", ""),
        ] {
            let found = refused(source);
            assert!(found.contains(expected), "{found}\nexpected {expected}");
        }
    }

    #[test]
    fn what_the_template_does_not_print_is_refused() {
        let tools = serde_json::json!([{"type": "function"}]);
        let template = ChatTemplate::chatml();
        let error = template
            .render(&chat(&["a"]), Some(&tools), false)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "chat template ChatML (built in): it does not print `tools`, which the conversation has"
        );
        let mut call = chat(&["a", ""]);
        call[1].fields.insert(
            "tool_calls".into(),
            serde_json::json!([{"function": {"name": "f"}}]),
        );
        let error = template.render(&call, None, false).unwrap_err().to_string();
        assert!(error.contains("does not print `tool_calls`"), "{error}");
        let marked = template
            .render(&chat(&["a\u{fdd0}"]), None, false)
            .unwrap_err()
            .to_string();
        assert!(marked.contains("U+FDD0"), "{marked}");
    }
}
