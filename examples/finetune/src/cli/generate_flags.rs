//! Flags of `finetune generate`.

use std::io::Read;
use std::path::PathBuf;

use burn_hf_models::generate::Sampling;
use clap::Args;
use programs::DeviceKind;

use crate::conversation::{Message, Role};
use crate::error::Error;
use crate::language::{Language, Place};

/// Let a language model answer: one that was trained here, or a pretrained one.
///
/// The most probable token is taken at every step, unless a temperature is given.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Folder of a run, PEFT folder, Hugging Face folder, or GGUF file.
    #[arg(value_name = "RUN|DIR|FILE.gguf")]
    pub target: PathBuf,
    /// What the user says, or how a plain text begins; several are answered one after the other [default: what comes
    /// from standard input].
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// Instructions for every answer.
    #[arg(long, value_name = "TEXT", conflicts_with = "plain")]
    system: Option<String>,
    /// Go on with the text as it is, without the chat template [default: as the run was trained].
    #[arg(long)]
    plain: bool,
    /// Tokens of an answer at most.
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_new_tokens: usize,
    /// Draw tokens; lower numbers make the most probable ones more so.
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    /// Draw from so many of the most probable tokens.
    #[arg(long, value_name = "K", requires = "temperature")]
    top_k: Option<usize>,
    /// Draw from the most probable tokens with this share of the probability.
    #[arg(long, value_name = "P", requires = "temperature")]
    top_p: Option<f64>,
    /// Seed of what is drawn.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    device: DeviceKind,
    /// Hugging Face folder or GGUF file of the base model, if it has moved.
    #[arg(long, value_name = "DIR|FILE.gguf")]
    model: Option<PathBuf>,
}

impl GenerateArgs {
    /// Answer every prompt; `each` gets the answers.
    ///
    /// # Errors
    ///
    /// Those of [`Place::of`], [`Language::open`] and [`Language::answer`]; [`Error::Read`] if standard input cannot be
    /// read.
    pub fn answer(&self, mut each: impl FnMut(&str)) -> Result<(), Error> {
        let mut place = Place::of(&self.target)?;
        if let Some(base) = &self.model {
            place = place.with_base(base.clone());
        }
        place.plain |= self.plain;
        let sampling = Sampling::new(self.max_new_tokens)
            .with_temperature(self.temperature)
            .with_top_k(self.top_k)
            .with_top_p(self.top_p);
        // Before the model is loaded.
        sampling.validate()?;
        let prompts = self.prompts()?;
        let device = self.device.open()?.inner();
        let language = Language::open(&place, &device)?;
        for prompt in prompts {
            let answer = if place.plain {
                language.continued(&prompt, &sampling, self.seed)?
            } else {
                let system = self.system.iter();
                let system = system.map(|text| Message::new(Role::System, text));
                let messages: Vec<Message> =
                    system.chain([Message::new(Role::User, prompt)]).collect();
                language.answer(&messages, &sampling, self.seed)?
            };
            each(&answer);
        }
        Ok(())
    }

    fn prompts(&self) -> Result<Vec<String>, Error> {
        if !self.prompt.is_empty() {
            return Ok(self.prompt.clone());
        }
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| Error::read("standard input".as_ref(), error))?;
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            let expected = "a text (`--prompt TEXT`, or on standard input)";
            return Err(Error::config("prompt", "empty", expected));
        }
        Ok(vec![text.into()])
    }
}
