//! Conversations and texts as tokens with labels.

use programs::guard;
use programs::printing::{message, short};
use regex::Regex;
use serde_json::Value;
use tokenizers::{PostProcessorWrapper, Tokenizer};

use super::answers::{Marked, TrainOn, mark};
use super::message::Message;
use super::options::{ControlTokens, EncodeOptions, Layout};
use super::sample::Sample;
use super::summary::{EncodeSummary, EncodedConversations};
use super::template::SpecialTokens;
use super::tokenized::{Tokenized, overlap};
use crate::data::Error;

/// Samples that are tokens at a time, with the places of all their tokens.
const TOGETHER: usize = 1024;

/// Turns samples into tokens and labels.
///
/// The text of a sample becomes tokens once, as a whole. A token is trained if at least one character of it is in an
/// answer: where a tokenizer joins the end of a prompt with the beginning of the answer, that token is trained, because
/// it holds a part of the answer (TRL leaves it out where the prompt has a space at its end, and loses one-word
/// answers). A special token is trained only if it begins in an answer. The token that ends an answer is trained.
///
/// ```
/// use finetune::conversation::{Content, ConversationEncoder, EncodeOptions, Layout, Place, Sample, SpecialTokens};
/// # let json = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
/// #     "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
/// #     "decoder": null, "model": {"type": "WordLevel", "unk_token": "<unk>",
/// #     "vocab": {"<unk>": 0, "</s>": 1, "Say": 2, "hello": 3}}}"#;
/// # let tokenizer = json.parse().unwrap();
///
/// let special = SpecialTokens::new([("eos_token", "</s>")]);
/// let encoder = ConversationEncoder::new(tokenizer, Layout::Plain, &special, EncodeOptions::new(64))?;
/// let content = Content::Completion { prompt: "Say ".into(), completion: "hello".into(), system: None };
/// let sample = Sample::new(content, Place::line(std::path::Path::new("rows.jsonl").into(), 1));
/// let encoded = encoder.encode(&[sample])?;
/// assert_eq!(encoded.items[0].ids, [2, 3, 1]);
/// assert_eq!(encoded.items[0].labels, [-100, 3, 1]);
/// # Ok::<(), finetune::data::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ConversationEncoder {
    tokenizer: Tokenizer,
    layout: Layout,
    options: EncodeOptions,
    /// Tokens that the tokenizer puts in front of a text and behind it, with the end token.
    around: [Vec<u32>; 2],
    /// All special tokens.
    special: Vec<String>,
    /// Whether a text holds one.
    control: Option<Regex>,
}

impl ConversationEncoder {
    /// For a tokenizer, whose own padding and truncation are not used.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] if `max_length` is below 2, or if the `eos_token` is not in the vocabulary.
    pub fn new(
        mut tokenizer: Tokenizer,
        layout: Layout,
        special: &SpecialTokens,
        options: EncodeOptions,
    ) -> Result<Self, Error> {
        if options.max_length < 2 {
            return Err(Error::option(
                "max_length",
                "at least 2 tokens",
                options.max_length,
            ));
        }
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|error| Error::option("model", "a tokenizer", error))?;
        let around = match layout {
            Layout::Chat(_) => Default::default(),
            Layout::Plain => around(&tokenizer, special.get("eos_token"))?,
        };
        // It would also take the space off the places of tokens.
        tokenizer.with_post_processor(None::<PostProcessorWrapper>);
        let added = tokenizer.get_added_tokens_decoder();
        let all = added
            .into_values()
            .filter(|token| token.special && !token.content.trim().is_empty());
        let mut all: Vec<String> = all.map(|token| token.content).collect();
        all.sort();
        let pattern = all
            .iter()
            .map(|token| regex::escape(token))
            .collect::<Vec<_>>()
            .join("|");
        let control = match options.control_tokens {
            ControlTokens::Refuse if !all.is_empty() => {
                let built = regex::RegexBuilder::new(&pattern)
                    .size_limit(1 << 28)
                    .build();
                Some(built.map_err(|error| {
                    Error::option("model", "a tokenizer with fewer special tokens", error)
                })?)
            }
            _ => None,
        };
        Ok(Self {
            tokenizer,
            layout,
            options,
            around,
            special: all,
            control,
        })
    }

    /// Turn samples into tokens.
    ///
    /// # Errors
    ///
    /// [`Error::Line`] and [`Error::Row`] for a sample that the layout or the template does not take, whose answers
    /// cannot be found or that holds a special token; [`Error::Option`] if no sample keeps an answer.
    pub fn encode(&self, samples: &[Sample]) -> Result<EncodedConversations, Error> {
        let mut items = Vec::with_capacity(samples.len());
        let mut sources = Vec::with_capacity(samples.len());
        let mut summary = EncodeSummary {
            samples: samples.len(),
            ..EncodeSummary::default()
        };
        for (chunk, part) in samples.chunks(TOGETHER).enumerate() {
            for (place, tokenized) in self.tokenize(part)?.into_iter().enumerate() {
                summary.add(&tokenized);
                let kept = tokenized.encoded();
                if kept.trained() == 0 {
                    summary.add_lost(&part[place].place);
                } else {
                    summary.trained += kept.trained();
                    summary.tokens += kept.length();
                    sources.push(chunk * TOGETHER + place);
                    items.push(kept);
                }
            }
        }
        if items.is_empty() {
            let expected = format!(
                "a length that leaves a part of at least one of {} answers",
                samples.len()
            );
            return Err(Error::option(
                "max_length",
                expected,
                self.options.max_length,
            ));
        }
        Ok(EncodedConversations {
            items,
            sources,
            summary,
        })
    }

    /// The tokens of a sample up to its last answer, from which a model generates one, and that answer.
    ///
    /// # Errors
    ///
    /// [`Error::Line`] and [`Error::Row`] for a sample that the layout or the template does not take, and for a text,
    /// which has no answer.
    pub fn prompt(&self, sample: &Sample) -> Result<(Vec<u32>, String), Error> {
        let refuse = |problem: String| sample.place.error(problem);
        let (text, answer) = match &self.layout {
            Layout::Chat(template) => {
                let (messages, tools) = self.turns(sample)?;
                let Some((answer, before)) = messages.split_last() else {
                    return Err(refuse("no message, expected at least 2".into()));
                };
                let rendered = template.render(before, tools, true);
                let rendered = rendered.map_err(|error| refuse(error.to_string()))?;
                (rendered.text, answer.content.clone().unwrap_or_default())
            }
            Layout::Plain => match sample.content.as_plain() {
                Some((prompt, answer)) if !prompt.is_empty() => (prompt, answer.to_string()),
                _ => return Err(refuse("a text without an answer, expected one with".into())),
            },
        };
        let encoded = guard::catch(|| self.tokenizer.encode(text, false));
        let encoded = encoded
            .map_err(|panic| refuse(panic.message))?
            .map_err(|error| refuse(message(&error)))?;
        let ids = self.around[0].iter().chain(encoded.get_ids()).copied();
        Ok((ids.collect(), answer))
    }

    /// A sample as its text, with `⟦` and `⟧` around what is trained, and the tokens counted.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn preview(&self, sample: &Sample) -> Result<String, Error> {
        let tokenized = self.tokenize(std::slice::from_ref(sample))?;
        let shown = |id: u32| self.tokenizer.id_to_token(id).unwrap_or_default();
        Ok(super::preview::preview(
            &tokenized[0],
            &sample.place,
            &shown,
        ))
    }

    /// Samples as text with answers.
    fn mark(&self, sample: &Sample) -> Result<Marked, Error> {
        let refuse = |problem: String| sample.place.error(problem);
        match &self.layout {
            Layout::Chat(template) => {
                let (messages, tools) = self.turns(sample)?;
                let marked = mark(
                    template,
                    &messages,
                    tools,
                    self.options.train_on,
                    &self.special,
                );
                marked.map_err(|error| refuse(error.to_string()))
            }
            Layout::Plain => {
                let Some((prompt, answer)) = sample.content.as_plain() else {
                    let found = "a conversation or a system text";
                    return Err(refuse(format!(
                        "{found}, expected a text or a prompt without: choose the task `chat`"
                    )));
                };
                let start = if self.options.train_on == TrainOn::All {
                    0
                } else {
                    prompt.len()
                };
                let text = prompt + answer;
                let answer = start..text.len();
                Ok(Marked {
                    text,
                    answers: vec![answer],
                })
            }
        }
    }

    /// The turns of a sample, which have no special tokens in them.
    fn turns<'s>(&self, sample: &'s Sample) -> Result<(Vec<Message>, Option<&'s Value>), Error> {
        let Some((messages, tools)) = sample.content.as_chat() else {
            let problem = "a text without turns, expected a conversation: choose the task `text`";
            return Err(sample.place.error(problem));
        };
        let checked = self.check_control(&messages, tools);
        checked.map_err(|problem| sample.place.error(problem))?;
        Ok((messages, tools))
    }

    /// Refuse special tokens in messages.
    fn check_control(&self, messages: &[Message], tools: Option<&Value>) -> Result<(), String> {
        let Some(control) = &self.control else {
            return Ok(());
        };
        fn texts<'v>(value: &'v Value, of: &mut dyn FnMut(&'v str)) {
            match value {
                Value::String(text) => of(text),
                Value::Array(list) => list.iter().for_each(|value| texts(value, of)),
                Value::Object(fields) => fields.values().for_each(|value| texts(value, of)),
                _ => {}
            }
        }
        let mut found = None;
        for (place, message) in messages.iter().enumerate() {
            let mut check = |text: &str| {
                if let Some(token) = control.find(text) {
                    found.get_or_insert_with(|| {
                        (format!("message {}", place + 1), token.as_str().to_string())
                    });
                }
            };
            message.content.iter().for_each(|content| check(content));
            message
                .fields
                .values()
                .for_each(|value| texts(value, &mut check));
        }
        if let Some(tools) = tools {
            texts(tools, &mut |text| {
                if let Some(token) = control.find(text) {
                    found.get_or_insert_with(|| ("the tools".into(), token.as_str().to_string()));
                }
            });
        }
        match found {
            None => Ok(()),
            Some((place, token)) => Err(format!(
                "{place}: the special token `{}` in the text, which would end the turn or begin another, expected none: \
                 remove it, or keep such tokens (`--control-tokens keep`)",
                short(&token)
            )),
        }
    }

    fn tokenize(&self, samples: &[Sample]) -> Result<Vec<Tokenized>, Error> {
        let marked = samples
            .iter()
            .map(|sample| self.mark(sample))
            .collect::<Result<Vec<_>, _>>()?;
        let texts: Vec<&str> = marked.iter().map(|marked| marked.text.as_str()).collect();
        let refuse = |problem: String| {
            let place = &samples[0].place;
            place.error(format!(
                "this or one of the next samples cannot become tokens: {problem}"
            ))
        };
        let encodings = guard::catch(|| self.tokenizer.encode_batch(texts, false));
        let encodings = encodings
            .map_err(|panic| refuse(panic.message))?
            .map_err(|error| refuse(message(&error)))?;
        let all = encodings.into_iter().zip(marked);
        Ok(all
            .map(|(encoding, marked)| self.label(&encoding, marked))
            .collect())
    }

    fn label(&self, encoding: &tokenizers::Encoding, marked: Marked) -> Tokenized {
        let [before, behind] = &self.around;
        let length = marked.text.len();
        let whole = marked.answers.first() == Some(&(0..length));
        let mut ids = before.clone();
        let mut offsets = vec![0..0; before.len()];
        let mut trained = vec![whole && !before.is_empty(); before.len()];
        let mut straddles = false;
        let is_special = |id: u32| {
            let token = self.tokenizer.id_to_token(id);
            token.is_some_and(|token| self.special.binary_search(&token).is_ok())
        };
        for (&id, &(start, end)) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
            let place = start..end;
            let hit = marked.answers.iter().find(|answer| overlap(answer, &place));
            let crosses = hit.is_some_and(|answer| place.start < answer.start);
            let is_trained = hit.is_some() && !(crosses && is_special(id));
            straddles |= crosses && is_trained;
            ids.push(id);
            offsets.push(place);
            trained.push(is_trained);
        }
        let last = ids.last().copied();
        let ended = match self.layout {
            Layout::Chat(_) => marked.answers.iter().all(|answer| {
                let answer = &marked.text[answer.clone()];
                self.special
                    .iter()
                    .any(|token| answer.trim_end().ends_with(token.as_str()))
            }),
            Layout::Plain => !behind.is_empty() || last.is_some_and(is_special),
        };
        for &id in behind {
            // A text that ends with the end token needs no other.
            if behind.len() == 1 && ids.last() == Some(&id) {
                continue;
            }
            ids.push(id);
            offsets.push(length..length);
            trained.push(true);
        }
        let mut tokenized = Tokenized {
            kept: ids.len(),
            marked,
            ids,
            offsets,
            trained,
            straddles,
            ended,
        };
        tokenized.kept = tokenized.cut(
            self.options.max_length,
            matches!(self.layout, Layout::Chat(_)),
        );
        tokenized
    }
}

/// The tokens that a tokenizer puts in front of a text and behind it, and the end token.
fn around(tokenizer: &Tokenizer, eos: Option<&str>) -> Result<[Vec<u32>; 2], Error> {
    let refuse = |found: String| Error::option("model", "a tokenizer for one text", found);
    let probe = guard::catch(|| tokenizer.encode("a", true));
    let probe = probe
        .map_err(|panic| refuse(panic.message))?
        .map_err(|error| refuse(message(&error)))?;
    let (ids, mask) = (probe.get_ids(), probe.get_special_tokens_mask());
    let before = mask.iter().take_while(|special| **special == 1).count();
    let behind = mask[before..]
        .iter()
        .rev()
        .take_while(|special| **special == 1)
        .count();
    let (before, mut behind) = (ids[..before].to_vec(), ids[ids.len() - behind..].to_vec());
    if let Some(eos) = eos {
        let Some(id) = tokenizer.token_to_id(eos) else {
            return Err(Error::option(
                "model",
                "an `eos_token` of the vocabulary",
                format!("`{}`", short(eos)),
            ));
        };
        if behind.last() != Some(&id) {
            behind.insert(0, id);
        }
    }
    Ok([before, behind])
}
