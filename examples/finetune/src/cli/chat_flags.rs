//! Flags of `finetune chat`.

use std::path::PathBuf;

use clap::Args;

use super::language_flags::LanguageFlags;
use super::sampling_flags::SamplingFlags;
use crate::chat::Chat;
use crate::error::Error;

/// Talk to a language model.
///
/// In a terminal lines can be edited and called back, and Ctrl-C stops an answer; /help shows the commands. Without a
/// terminal every line of standard input is a message or a command, and answers go to standard output.
#[derive(Debug, Args)]
pub struct ChatArgs {
    #[command(flatten)]
    language: LanguageFlags,
    /// Instructions for the answers.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// File for the lines that were typed, to call them back next time [default: they are forgotten].
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    #[command(flatten)]
    sampling: SamplingFlags,
}

impl ChatArgs {
    /// Talk until the input ends.
    ///
    /// # Errors
    ///
    /// Those of the model's files and of [`Chat::talk`]; [`Error::Config`] for a model without a chat template.
    pub fn chat(&self) -> Result<(), Error> {
        let options = self.sampling.options();
        // Before the model is loaded.
        options.validate()?;
        let language = self.language.open()?;
        let name = language.names().next().unwrap_or_default();
        if language.template(name).is_none() {
            let expected =
                "a model with a chat template; `finetune generate --plain` goes on with texts";
            let field = format!("model `{name}`");
            return Err(Error::config(field, "without a chat template", expected));
        }
        let mut chat = Chat::new(&language);
        chat.options = options;
        chat.stops.clone_from(&self.sampling.stop);
        chat.seed = self.sampling.seed;
        if let Some(text) = &self.system {
            chat.set_system(text);
        }
        chat.talk(self.history.as_deref())
    }
}
