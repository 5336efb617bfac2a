//! One answer, piece by piece.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use burn::tensor::{Int, Tensor, TensorData};
use burn_hf_models::generate::Sampling;
use burn_hf_models::llama::{LlamaGeneration, LlamaInput};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::stop_text::StopText;
use super::token_text::TokenText;
use super::{GenerationOptions, Language};
use crate::conversation::Message;
use crate::error::Error;

/// What an answer goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptText {
    /// A conversation, which the chat template makes a text of.
    Messages(Vec<Message>),
    /// A text as it is.
    Plain(String),
}

/// What is asked of a language model.
///
/// ```
/// use finetune::language::{AnswerRequest, PromptText};
///
/// let mut request = AnswerRequest::new(PromptText::Plain("Once upon".into()));
/// request.stops = vec!["\n".into()];
/// assert_eq!(request.seed, 1);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AnswerRequest {
    /// The name of the model that answers; without it the first.
    pub model: Option<String>,
    /// What the answer goes on from.
    pub prompt: PromptText,
    /// How tokens are chosen, over the settings of the model.
    pub options: GenerationOptions,
    /// Texts that end the answer and are not part of it.
    pub stops: Vec<String>,
    /// Seed of what is drawn.
    pub seed: u64,
}

impl AnswerRequest {
    /// With the settings of the model and the seed 1.
    pub fn new(prompt: PromptText) -> Self {
        Self {
            model: None,
            prompt,
            options: GenerationOptions::default(),
            stops: Vec::new(),
            seed: 1,
        }
    }
}

/// Why an answer has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// At an end token or a stop text.
    Stop,
    /// It is as long as it may be.
    Length,
}

impl FinishReason {
    /// Its name in OpenAI's interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// Sizes and times of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct AnswerNumbers {
    /// Tokens of the prompt, virtual ones included.
    pub prompt_tokens: usize,
    /// New tokens, an end token included.
    pub new_tokens: usize,
    /// How long the model read the prompt.
    pub reading: Duration,
    /// How long it wrote, from the first new token to the last.
    pub writing: Duration,
}

impl AnswerNumbers {
    /// New tokens per second of writing. The first one comes with the prompt and is not counted; 0 if it is the only
    /// one.
    pub fn tokens_per_second(&self) -> f64 {
        let seconds = self.writing.as_secs_f64();
        if self.new_tokens < 2 || seconds == 0.0 {
            return 0.0;
        }
        (self.new_tokens - 1) as f64 / seconds
    }
}

impl fmt::Display for AnswerNumbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} tokens read in {:.2} s, {} written in {:.2} s ({:.1} tokens per second)",
            self.prompt_tokens,
            self.reading.as_secs_f64(),
            self.new_tokens,
            self.writing.as_secs_f64(),
            self.tokens_per_second(),
        )
    }
}

/// An answer in the making: an iterator over pieces of its text.
///
/// Each step is one token, so a piece is often empty: while the bytes of a letter are incomplete, or while the text may
/// be the beginning of a stop text. After the last piece [`finish_reason`](Self::finish_reason) says why it ended. An
/// answer that is dropped costs nothing more.
pub struct Answer<'a> {
    generation: LlamaGeneration,
    generator: ChaCha8Rng,
    text: TokenText<'a>,
    stops: StopText,
    ends: Vec<i64>,
    most: usize,
    numbers: AnswerNumbers,
    first: Option<Instant>,
    state: State,
}

enum State {
    Writing,
    Ended(FinishReason),
    Failed,
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.map(|since| since.as_secs());
    i64::try_from(seconds.unwrap_or_default()).unwrap_or_default()
}

impl Language {
    /// The whole answer to a conversation, by the first model.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), and those of the answer.
    pub fn answer(
        &self,
        messages: &[Message],
        sampling: &Sampling,
        seed: u64,
    ) -> Result<String, Error> {
        self.whole(PromptText::Messages(messages.to_vec()), sampling, seed)
    }

    /// How a plain text goes on, by the first model.
    ///
    /// # Errors
    ///
    /// As [`answer`](Self::answer).
    pub fn continued(&self, text: &str, sampling: &Sampling, seed: u64) -> Result<String, Error> {
        self.whole(PromptText::Plain(text.into()), sampling, seed)
    }

    fn whole(&self, prompt: PromptText, sampling: &Sampling, seed: u64) -> Result<String, Error> {
        let request = AnswerRequest {
            options: sampling.into(),
            seed,
            ..AnswerRequest::new(prompt)
        };
        self.start(&request)?.collect()
    }

    /// Read a prompt, and start to answer it.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for an unknown name, a conversation without a chat template, and an empty stop text;
    /// [`Error::Data`] if the template refuses the conversation or a text cannot be turned into tokens;
    /// [`Error::PromptTooLong`]; [`Error::Model`] for options out of range.
    pub fn start(&self, request: &AnswerRequest) -> Result<Answer<'_>, Error> {
        let started = Instant::now();
        let variant = self.variant(request.model.as_deref())?;
        if request.stops.iter().any(String::is_empty) {
            return Err(Error::config("stop", "an empty text", "a text"));
        }
        let ids = match &request.prompt {
            PromptText::Messages(messages) => {
                let Some(template) = &variant.template else {
                    let expected = "a model with a chat template, or a plain text";
                    let field = format!("model `{}`", variant.name);
                    return Err(Error::config(field, "without a chat template", expected));
                };
                // A server may have been started days ago.
                let template = template.clone().with_time(now());
                let rendered = template.render(messages, None, true)?;
                self.encode(&rendered.text, false)?
            }
            PromptText::Plain(text) => self.encode(text, true)?,
        };
        let virtual_tokens = variant.virtual_tokens();
        let prompt_tokens = virtual_tokens + ids.len();
        let most = self.context.unwrap_or(usize::MAX);
        if prompt_tokens >= most {
            let most = most.saturating_sub(virtual_tokens + 1);
            let tokens = ids.len();
            return Err(Error::PromptTooLong { tokens, most });
        }
        let mut ends = self.ends.clone();
        // A special token has no text: as a stop text it is an end token.
        let tokens = request.stops.iter();
        let tokens = tokens.filter_map(|stop| self.tokenizer.token_to_id(stop));
        ends.extend(tokens.filter(|id| self.special.contains(id)).map(i64::from));
        let options = request.options.over(&self.options);
        let sampling = options.sampling(ends.clone(), most - prompt_tokens);
        sampling.validate()?;
        let data = TensorData::new(ids.clone(), [1, ids.len()]);
        let mut input = LlamaInput::new(Tensor::<2, Int>::from_data(data, &self.device));
        if let Some(prompt) = &variant.prompt {
            input = input.with_prompt(prompt.forward(1));
        }
        let generation = variant.llm.start_generation(input, &sampling)?;
        Ok(Answer {
            generation,
            generator: ChaCha8Rng::seed_from_u64(request.seed),
            text: TokenText::new(&self.tokenizer, &self.special, &ids),
            stops: StopText::new(&request.stops),
            ends,
            most: sampling.max_new_tokens,
            numbers: AnswerNumbers {
                prompt_tokens,
                new_tokens: 0,
                reading: started.elapsed(),
                writing: Duration::ZERO,
            },
            first: None,
            state: State::Writing,
        })
    }
}

impl Answer<'_> {
    /// Why it has ended; `None` while it goes on, and after an error.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        match self.state {
            State::Ended(reason) => Some(reason),
            State::Writing | State::Failed => None,
        }
    }

    /// Sizes and times so far.
    pub fn numbers(&self) -> AnswerNumbers {
        self.numbers
    }

    fn step(&mut self) -> Result<String, Error> {
        let tokens = self.generation.next_tokens(&mut self.generator)?;
        let token = tokens.and_then(|tokens| tokens.first().copied());
        let first = *self.first.get_or_insert_with(Instant::now);
        let Some(token) = token else {
            return self.end(FinishReason::Length, String::new());
        };
        self.numbers.new_tokens += 1;
        self.numbers.writing = first.elapsed();
        if self.ends.contains(&token) {
            return self.end(FinishReason::Stop, String::new());
        }
        let passed = self.stops.push(&self.text.push(token)?);
        if passed.stopped {
            self.state = State::Ended(FinishReason::Stop);
            return Ok(passed.text);
        }
        if self.numbers.new_tokens >= self.most {
            return self.end(FinishReason::Length, passed.text);
        }
        Ok(passed.text)
    }

    /// The last piece: what was held back may still hold a stop text.
    fn end(&mut self, reason: FinishReason, text: String) -> Result<String, Error> {
        let passed = self.stops.push(&self.text.finish()?);
        let (rest, reason) = if passed.stopped {
            (String::new(), FinishReason::Stop)
        } else {
            (self.stops.finish(), reason)
        };
        self.state = State::Ended(reason);
        Ok(text + &passed.text + &rest)
    }
}

impl Iterator for Answer<'_> {
    type Item = Result<String, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if !matches!(self.state, State::Writing) {
            return None;
        }
        let piece = self.step();
        if piece.is_err() {
            self.state = State::Failed;
        }
        Some(piece)
    }
}
