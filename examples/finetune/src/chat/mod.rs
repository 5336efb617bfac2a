//! A conversation with a language model, in a terminal or through pipes.

mod command;
mod lines;

use std::path::Path;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use programs::printing::{message, quoted_list};
use programs::{err_line, out_line};

use crate::conversation::{Message, Role};
use crate::error::Error;
use crate::language::{
    AnswerNumbers, AnswerRequest, FinishReason, GenerationOptions, Language, PromptText,
};
use crate::terminal_text::print_piece;
use command::{HELP, Line};
use lines::{Lines, Typed};

/// The exit code of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// A conversation.
///
/// ```no_run
/// use std::sync::atomic::AtomicBool;
/// use burn::tensor::Device;
/// use finetune::chat::{Chat, Reply};
/// use finetune::language::{Language, Place};
///
/// let language = Language::open(&Place::of("model.gguf".as_ref())?, &Device::flex())?;
/// let mut chat = Chat::new(&language);
/// let never = AtomicBool::new(false);
/// let reply = chat.reply("What is 4 plus 5?", &never, |piece| print!("{piece}"))?;
/// assert!(matches!(reply, Reply::Answered { .. }));
/// # Ok::<(), finetune::Error>(())
/// ```
pub struct Chat<'a> {
    language: &'a Language,
    model: String,
    system: Option<String>,
    turns: Vec<Message>,
    /// How tokens are chosen.
    pub options: GenerationOptions,
    /// Texts that end an answer.
    pub stops: Vec<String>,
    /// Seed of what is drawn, the same for every answer.
    pub seed: u64,
}

/// What came of a line.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// The model answered.
    Answered {
        /// Sizes and times.
        numbers: AnswerNumbers,
        /// Why the answer ended; none if it was stopped.
        reason: Option<FinishReason>,
    },
    /// A command was followed; what there is to say about it.
    Note(String),
    /// The line was empty.
    Nothing,
    /// The conversation is over.
    Quit,
}

impl<'a> Chat<'a> {
    /// With the first model of `language`.
    pub fn new(language: &'a Language) -> Self {
        Self {
            language,
            model: language.names().next().unwrap_or_default().into(),
            system: None,
            turns: Vec::new(),
            options: GenerationOptions::default(),
            stops: Vec::new(),
            seed: 1,
        }
    }

    /// Instructions for the answers.
    pub fn set_system(&mut self, text: impl Into<String>) {
        self.system = Some(text.into());
    }

    /// The messages so far, the instructions first.
    pub fn messages(&self) -> Vec<Message> {
        let system = self.system.iter();
        let system = system.map(|text| Message::new(Role::System, text));
        system.chain(self.turns.iter().cloned()).collect()
    }

    /// Answer a line or follow the command in it; `each` gets the pieces of an answer. An answer ends early when `stop`
    /// is set.
    ///
    /// # Errors
    ///
    /// Those of [`Language::start`] and of its answer; the line is not part of the conversation then.
    pub fn reply(
        &mut self,
        line: &str,
        stop: &AtomicBool,
        each: impl FnMut(&str),
    ) -> Result<Reply, Error> {
        let note = |text: String| Ok(Reply::Note(text));
        match Line::parse(line) {
            Line::Nothing => Ok(Reply::Nothing),
            Line::Message(text) => self.answer(text, stop, each),
            Line::System(Some(text)) => {
                self.set_system(text);
                note("new instructions".into())
            }
            Line::System(None) => note(match &self.system {
                Some(text) => format!("instructions: {text}"),
                None => "no instructions".into(),
            }),
            Line::Adapter(Some(name)) if self.language.names().any(|known| known == name) => {
                self.model = name.into();
                note(format!("{name} answers from now on"))
            }
            Line::Adapter(name) => {
                let known = quoted_list(self.language.names());
                let model = &self.model;
                note(match name {
                    Some(name) => format!("there is no `{name}`, expected one of {known}"),
                    None => format!("`{model}` answers; there are {known}"),
                })
            }
            Line::Reset => {
                self.turns.clear();
                note("a new conversation".into())
            }
            Line::Help => note(HELP.into()),
            Line::Quit => Ok(Reply::Quit),
            Line::Unknown(line) => {
                let line = programs::printing::short(line);
                note(format!("unknown command {line}, see /help"))
            }
        }
    }

    fn answer(
        &mut self,
        text: &str,
        stop: &AtomicBool,
        each: impl FnMut(&str),
    ) -> Result<Reply, Error> {
        self.turns.push(Message::new(Role::User, text));
        let answered = self.write(stop, each);
        match answered {
            Ok((text, reply)) => {
                self.turns.push(Message::new(Role::Assistant, text));
                Ok(reply)
            }
            Err(error) => {
                self.turns.pop();
                Err(error)
            }
        }
    }

    fn write(
        &self,
        stop: &AtomicBool,
        mut each: impl FnMut(&str),
    ) -> Result<(String, Reply), Error> {
        let mut request = AnswerRequest::new(PromptText::Messages(self.messages()));
        request.model = Some(self.model.clone());
        request.options = self.options.clone();
        request.stops.clone_from(&self.stops);
        request.seed = self.seed;
        let mut answer = self.language.start(&request)?;
        let mut text = String::new();
        while !stop.load(Ordering::Relaxed) {
            let Some(piece) = answer.next().transpose()? else {
                break;
            };
            each(&piece);
            text += &piece;
        }
        let reply = Reply::Answered {
            numbers: answer.numbers(),
            reason: answer.finish_reason(),
        };
        Ok((text, reply))
    }

    /// Talk over standard input and output, until `/quit` or the end of the input. In a terminal lines can be edited, and
    /// Ctrl-C stops an answer; the file `history` keeps what was typed. Numbers and notes go to standard error.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] and [`Error::Write`] for terminal and history; without a terminal also what goes wrong with an
    /// answer, which a terminal shows.
    pub fn talk(&mut self, history: Option<&Path>) -> Result<(), Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(AtomicBool::new(false));
        let (asked, busy) = (stop.clone(), answers.clone());
        let listening = ctrlc::set_handler(move || {
            // The second time, or while no answer is written.
            if !busy.load(Ordering::Relaxed) || asked.swap(true, Ordering::Relaxed) {
                exit(INTERRUPTED);
            }
        });
        if let Err(error) = listening {
            err_line!("warning: Ctrl-C will end the program: {error}");
        }
        let mut lines = Lines::open(history)?;
        if lines.is_terminal() {
            err_line!("{} answers; /help shows the commands", self.model);
        }
        loop {
            let line = match lines.next("> ")? {
                Typed::Line(line) => line,
                Typed::Dropped => continue,
                Typed::End => return Ok(()),
            };
            stop.store(false, Ordering::Relaxed);
            answers.store(true, Ordering::Relaxed);
            let reply = self.reply(&line, &stop, print_piece);
            answers.store(false, Ordering::Relaxed);
            match reply {
                Ok(Reply::Answered { numbers, reason }) => {
                    out_line!("");
                    let reason = reason.map_or("stopped", FinishReason::name);
                    err_line!("({numbers}, {reason})");
                }
                Ok(Reply::Note(text)) => err_line!("{text}"),
                Ok(Reply::Nothing) => {}
                Ok(Reply::Quit) => return Ok(()),
                Err(error) if lines.is_terminal() => err_line!("error: {}", message(&error)),
                Err(error) => return Err(error),
            }
        }
    }
}
