//! Answers of language models.

use burn::tensor::Device;

use super::columns::{Item, Row};
use super::options::PredictOptions;
use super::prediction::{Predict, Prediction};
use crate::conversation::{Message, Role};
use crate::error::Error;
use crate::language::{AnswerRequest, GenerationOptions, Language, Place, PromptText};
use crate::target::Target;

/// A language model.
pub(super) struct Answers {
    language: Language,
    is_plain: bool,
    generation: GenerationOptions,
    seed: u64,
}

impl Answers {
    pub fn open(target: &Target, options: &PredictOptions, device: &Device) -> Result<Self, Error> {
        let place = Place::of_target(target)?;
        Ok(Self {
            language: Language::open(&place, device)?,
            is_plain: place.plain,
            generation: options.generation.clone(),
            seed: options.seed,
        })
    }

    fn answer(&self, prompt: PromptText) -> Result<String, Error> {
        let mut request = AnswerRequest::new(prompt);
        request.options.clone_from(&self.generation);
        request.seed = self.seed;
        self.language.start(&request)?.collect()
    }
}

impl Predict for Answers {
    fn predict(&self, rows: &[Row]) -> Result<Vec<Prediction>, Error> {
        let answer = |row: &Row| match &row.item {
            Item::Conversation(messages) => self.answer(PromptText::Messages(messages.clone())),
            Item::Text { first, .. } if self.is_plain => {
                self.answer(PromptText::Plain(first.clone()))
            }
            Item::Text { first, .. } => {
                let messages = [Message::new(Role::User, first)];
                self.answer(PromptText::Messages(messages.to_vec()))
            }
            Item::Words(words) => self.answer(PromptText::Plain(words.join(" "))),
            Item::Picture(path) => {
                let expected = "a text for a language model";
                Err(Error::config("data", path.display(), expected))
            }
        };
        let answers = rows.iter().map(|row| Ok(Prediction::Answer(answer(row)?)));
        answers.collect()
    }
}
