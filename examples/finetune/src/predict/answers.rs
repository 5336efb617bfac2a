//! Answers of language models.

use burn::tensor::Device;
use burn_hf_models::generate::Sampling;

use super::columns::{Item, Row};
use super::{Predict, PredictOptions, Prediction};
use crate::conversation::{Message, Role};
use crate::error::Error;
use crate::language::{Language, Place};
use crate::target::Target;

/// A language model.
pub(super) struct Answers {
    language: Language,
    is_plain: bool,
    sampling: Sampling,
    seed: u64,
}

impl Answers {
    pub fn open(target: &Target, options: &PredictOptions, device: &Device) -> Result<Self, Error> {
        options.sampling.validate()?;
        let mut place = Place::of(&target.base)?;
        place.adapter.clone_from(&target.adapter);
        if let Some(run) = &target.run {
            place.plain = run.task()?.is_plain();
            place.template.clone_from(&run.data.template);
        }
        Ok(Self {
            language: Language::open(&place, device)?,
            is_plain: place.plain,
            sampling: options.sampling.clone(),
            seed: options.seed,
        })
    }
}

impl Predict for Answers {
    fn predict(&self, rows: &[Row]) -> Result<Vec<Prediction>, Error> {
        let (sampling, seed) = (&self.sampling, self.seed);
        let answer = |row: &Row| match &row.item {
            Item::Conversation(messages) => self.language.answer(messages, sampling, seed),
            Item::Text { first, .. } if self.is_plain => {
                self.language.continued(first, sampling, seed)
            }
            Item::Text { first, .. } => {
                let messages = [Message::new(Role::User, first)];
                self.language.answer(&messages, sampling, seed)
            }
            Item::Picture(path) => {
                let expected = "a text for a language model";
                Err(Error::config("data", path.display(), expected))
            }
        };
        let answers = rows.iter().map(|row| Ok(Prediction::Answer(answer(row)?)));
        answers.collect()
    }
}
