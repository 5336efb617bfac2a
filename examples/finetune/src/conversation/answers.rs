//! Where the answers are in the text of a conversation.

use std::ops::Range;

use serde_json::Value;

use super::message::{Message, Role};
use super::template::ChatTemplate;
use crate::data::Error;

/// What a model is trained on.
///
/// ```
/// use finetune::conversation::TrainOn;
///
/// assert_eq!(TrainOn::default(), TrainOn::Assistant);
/// assert_eq!(TrainOn::Last.to_string(), "last");
/// ```
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    clap::ValueEnum,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum TrainOn {
    /// The last answer of a conversation.
    Last,
    /// Every answer of the assistant.
    #[default]
    Assistant,
    /// All tokens, also those of the user.
    All,
}

impl std::fmt::Display for TrainOn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Last => "last",
            Self::Assistant => "assistant",
            Self::All => "all",
        })
    }
}

/// End of the reasoning in front of an answer; templates take it off earlier answers.
const THOUGHT: &str = "</think>";

/// A text and the bytes of it that are trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marked {
    pub(super) text: String,
    pub(super) answers: Vec<Range<usize>>,
}

/// A conversation as text with its answers: each from where the generation prompt ends to the end of the turn.
///
/// A template with `{% generation %}` says itself where they are. Otherwise the conversation is rendered up to each
/// answer and up to its end, which must be beginnings of the whole. If they are not (templates rewrite earlier turns),
/// the contents of the messages are marked, which must not change the text. `special` are the tokens that end turns.
pub(super) fn mark(
    template: &ChatTemplate,
    messages: &[Message],
    tools: Option<&Value>,
    train_on: TrainOn,
    special: &[String],
) -> Result<Marked, Error> {
    let rendered = template.render(messages, tools, false)?;
    let text = rendered.text;
    let assistants = (0..messages.len()).filter(|&place| messages[place].role == Role::Assistant);
    let assistants: Vec<usize> = assistants.collect();
    let trained = |place: &usize| {
        let is_last = place + 1 == messages.len();
        messages[*place].trained && (is_last || train_on == TrainOn::Assistant)
    };
    let wanted: Vec<usize> = assistants.iter().copied().filter(trained).collect();
    let unprinted = |place: &&usize| {
        let content = messages[**place].content.as_deref().unwrap_or_default();
        !text.contains(&content[without_thought(content)])
    };
    if let Some(place) = wanted.iter().find(unprinted) {
        let problem = format!("it does not print the content of message {}", place + 1);
        return Err(Error::template(template.name(), problem));
    }
    if train_on == TrainOn::All {
        let all = 0..text.len();
        return Ok(Marked {
            text,
            answers: vec![all],
        });
    }
    if let Some(answers) = rendered.answers {
        if answers.len() == assistants.len() {
            let pairs = assistants
                .iter()
                .zip(answers)
                .filter(|(place, _)| trained(place));
            let answers = pairs.map(|(_, range)| range).collect();
            return Ok(Marked { text, answers });
        }
        if !answers.is_empty() && wanted.len() == assistants.len() {
            return Ok(Marked { text, answers });
        }
    }
    if let Some(answers) = by_beginnings(template, messages, tools, &text, &wanted, special)? {
        return Ok(Marked { text, answers });
    }
    if let Some(answers) = by_contents(template, messages, tools, &text, &wanted, special) {
        return Ok(Marked { text, answers });
    }
    let problem = "it does not render the first messages as the beginning of the whole conversation (it rewrites \
                   earlier turns), so that the answers cannot be found: train on the last answer alone (`--train-on \
                   last`), or use a template that marks answers with `{% generation %}`";
    Err(Error::template(template.name(), problem))
}

/// By rendering the messages up to each answer, and up to its end.
fn by_beginnings(
    template: &ChatTemplate,
    messages: &[Message],
    tools: Option<&Value>,
    text: &str,
    wanted: &[usize],
    special: &[String],
) -> Result<Option<Vec<Range<usize>>>, Error> {
    let mut answers = Vec::new();
    for &place in wanted {
        // Some templates refuse a conversation without its end; then there is another way.
        let Ok(prompt) = template.render(&messages[..place], tools, true) else {
            return Ok(None);
        };
        let end = if place + 1 == messages.len() {
            text.len()
        } else {
            match template.render(&messages[..=place], tools, false) {
                Ok(turn) if text.starts_with(&turn.text) => turn.text.len(),
                _ => return Ok(None),
            }
        };
        let start = prompt.text.len();
        if !text.starts_with(&prompt.text) || start >= end {
            return Ok(None);
        }
        answers.push(start..end_of_turn(text, start..end, special));
    }
    Ok(Some(answers))
}

/// The end of an answer's last special token, if only white space follows: the model does not write what the template
/// puts between turns.
fn end_of_turn(text: &str, turn: Range<usize>, special: &[String]) -> usize {
    let trimmed = text[turn.clone()].trim_end();
    if special
        .iter()
        .any(|token| trimmed.ends_with(token.as_str()))
    {
        turn.start + trimmed.len()
    } else {
        turn.end
    }
}

/// By marks around the content of each message: all of it, or without the space around it, or without the reasoning
/// in front of it.
fn by_contents(
    template: &ChatTemplate,
    messages: &[Message],
    tools: Option<&Value>,
    text: &str,
    wanted: &[usize],
    special: &[String],
) -> Option<Vec<Range<usize>>> {
    let parts: [fn(&str) -> Range<usize>; 3] = [
        |content| 0..content.len(),
        |content| trimmed(content, 0),
        without_thought,
    ];
    // A message that only calls tools has no content to mark.
    if wanted
        .iter()
        .any(|&place| messages[place].tool_calls().is_some())
    {
        return None;
    }
    let located = wanted.iter().map(|&wanted| {
        parts.iter().find_map(|part| {
            let mark = |place: usize, content: &str| (place == wanted).then(|| part(content));
            let (found, ranges) = template.locate(messages, tools, &mark).ok()?;
            let [range] = &ranges[..] else { return None };
            (found == text).then(|| range.start..with_end_token(text, range.end, special))
        })
    });
    located.collect()
}

/// Without the space around what begins there.
fn trimmed(content: &str, from: usize) -> Range<usize> {
    let start = content.len() - content[from..].trim_start().len();
    start..start.max(content.trim_end().len())
}

/// Without the reasoning in front of it, and the space around it.
fn without_thought(content: &str) -> Range<usize> {
    let thought = content.rfind(THOUGHT);
    trimmed(content, thought.map_or(0, |at| at + THOUGHT.len()))
}

/// Behind the special token that follows, if one does.
fn with_end_token(text: &str, end: usize, special: &[String]) -> usize {
    let rest = &text[end..];
    let space = usize::from(rest.starts_with(' '));
    let token = special
        .iter()
        .filter(|token| rest[space..].starts_with(token.as_str()));
    let longest = token.map(String::len).max();
    longest.map_or(end, |length| end + space + length)
}

#[cfg(test)]
mod tests {
    use super::super::template::SpecialTokens;
    use super::*;

    const PLAIN: &str = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}\
                         {% if add_generation_prompt %}<|assistant|>\n{% endif %}";
    /// Like Qwen3's: the reasoning of earlier answers is taken off.
    const FORGETFUL: &str = "{% for m in messages %}{% set c = m.content %}<|{{ m.role }}|>\n\
                             {% if not loop.last and '</think>' in c %}{% set c = c.split('</think>')[-1].lstrip('\n') %}\
                             {% endif %}{{ c }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}";

    fn chat(texts: &[&str]) -> Vec<Message> {
        let roles = [Role::User, Role::Assistant].into_iter().cycle();
        texts
            .iter()
            .zip(roles)
            .map(|(text, role)| Message::new(role, *text))
            .collect()
    }

    fn answers(
        source: &str,
        messages: &[Message],
        train_on: TrainOn,
    ) -> Result<Vec<String>, String> {
        let template = ChatTemplate::new("t", source, &SpecialTokens::default()).unwrap();
        let marked = mark(&template, messages, None, train_on, &["<|end|>".into()]);
        let marked = marked.map_err(|error| error.to_string())?;
        Ok(marked
            .answers
            .iter()
            .map(|range| marked.text[range.clone()].to_string())
            .collect())
    }

    #[test]
    fn answers_begin_behind_the_prompt_and_end_with_their_token() {
        let messages = chat(&["a", "b", "c", "d"]);
        assert_eq!(
            answers(PLAIN, &messages, TrainOn::Assistant).unwrap(),
            ["b<|end|>", "d<|end|>"]
        );
        assert_eq!(
            answers(PLAIN, &messages, TrainOn::Last).unwrap(),
            ["d<|end|>"]
        );
        let all = answers(PLAIN, &messages, TrainOn::All).unwrap();
        assert!(
            all.len() == 1 && all[0].starts_with("<|user|>") && all[0].ends_with("d<|end|>\n"),
            "{all:?}"
        );
        let mut some = messages;
        some[1].trained = false;
        assert_eq!(
            answers(PLAIN, &some, TrainOn::Assistant).unwrap(),
            ["d<|end|>"]
        );
    }

    #[test]
    fn a_template_says_itself_where_answers_are() {
        let source = "{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' %}{% generation %}{{ m.content }}\
                      .{% endgeneration %}{% else %}{{ m.content }}{% endif %}|{% endfor %}";
        let messages = chat(&["a", "b", "c", "d"]);
        assert_eq!(
            answers(source, &messages, TrainOn::Assistant).unwrap(),
            ["b.", "d."]
        );
        assert_eq!(answers(source, &messages, TrainOn::Last).unwrap(), ["d."]);
    }

    #[test]
    fn earlier_turns_that_are_rewritten_are_found_by_their_contents() {
        let thought = "<think>\nx\n</think>\n\n";
        let messages = chat(&["a", &format!("{thought}b"), "c", &format!("{thought}d")]);
        let found = answers(FORGETFUL, &messages, TrainOn::Assistant).unwrap();
        assert_eq!(
            found,
            ["b<|end|>".to_string(), format!("{thought}d<|end|>")]
        );
        let last = answers(FORGETFUL, &messages, TrainOn::Last).unwrap();
        assert_eq!(last, [format!("{thought}d<|end|>")]);
    }

    #[test]
    fn answers_that_cannot_be_found_are_refused() {
        let shouting = FORGETFUL.replace("{{ c }}", "{{ c | upper }}");
        let messages = chat(&["a", "b", "c", "d"]);
        let error = answers(&shouting, &messages, TrainOn::Assistant).unwrap_err();
        assert_eq!(
            error,
            "chat template t: it does not print the content of message 2"
        );
        // Backwards: marks of the content do not stay around it.
        let backwards = "{% for m in messages %}{{ m.content }}{% endfor %}|{{ messages[0].content }}{{ messages | length }}";
        let error = answers(
            &format!("{{{{ messages | length }}}}{backwards}{{{{ messages[1].content }}}}"),
            &messages,
            TrainOn::Assistant,
        )
        .unwrap_err();
        assert!(
            error.contains("`--train-on last`") && error.contains("{% generation %}"),
            "{error}"
        );
    }

    #[test]
    fn a_text_between_turns_is_part_of_an_answer_only_without_an_end_token() {
        let source = PLAIN.replace("<|end|>", "");
        assert_eq!(
            answers(&source, &chat(&["a", "b", "c", "d"]), TrainOn::Assistant).unwrap(),
            ["b\n", "d\n"]
        );
    }
}
