//! Flags of `finetune generate`.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use programs::{DeviceKind, Floats};
use programs::{err_line, out_line};

use super::sampling_flags::SamplingFlags;
use crate::conversation::{Message, Role};
use crate::error::Error;
use crate::language::{AnswerRequest, Language, Place, PromptText};
use crate::terminal_text::print_piece;

/// Let a language model answer: one that was trained here, or a pretrained one.
///
/// The answer appears as it is written. Sizes and speed go to standard error. Settings come from the model's
/// generation_config.json, and over it from flags; without either the most probable token is taken at every step.
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
    #[command(flatten)]
    sampling: SamplingFlags,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    device: DeviceKind,
    /// Floats of the model; adapters stay f32.
    #[arg(long, value_enum, value_name = "FLOATS", default_value_t)]
    dtype: Floats,
    /// Hugging Face folder or GGUF file of the base model, if it has moved.
    #[arg(long, value_name = "DIR|FILE.gguf")]
    model: Option<PathBuf>,
}

impl GenerateArgs {
    /// Answer every prompt on standard output.
    ///
    /// # Errors
    ///
    /// Those of [`Place::of`], [`Language::open`] and [`Language::start`]; [`Error::Read`] if standard input cannot be
    /// read.
    pub fn answer(&self) -> Result<(), Error> {
        let mut place = match &self.model {
            Some(base) => Place::with_base(&self.target, base)?,
            None => Place::of(&self.target)?,
        };
        place.plain |= self.plain;
        let options = self.sampling.options();
        // Before the model is loaded.
        options.validate()?;
        let prompts = self.prompts()?;
        let device = self.device.open_in(self.dtype)?.inner();
        let language = Language::open(&place, &device)?;
        for prompt in prompts {
            let mut request = AnswerRequest::new(if place.plain {
                PromptText::Plain(prompt)
            } else {
                let system = self.system.iter();
                let system = system.map(|text| Message::new(Role::System, text));
                let user = Message::new(Role::User, prompt);
                PromptText::Messages(system.chain([user]).collect())
            });
            request.options = options.clone();
            request.stops.clone_from(&self.sampling.stop);
            request.seed = self.sampling.seed;
            let mut answer = language.start(&request)?;
            for piece in &mut answer {
                print_piece(&piece?);
            }
            out_line!("");
            let reason = answer.finish_reason().map_or("", |reason| reason.name());
            err_line!("{}, finished: {reason}", answer.numbers());
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
