//! Lines from a terminal, with editing and a history, or from a file or another program.

use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::error::Error;

/// Where lines come from.
pub(super) enum Lines {
    Terminal {
        editor: Box<DefaultEditor>,
        history: Option<PathBuf>,
    },
    Piped,
}

/// A line, or what came in its place.
pub(super) enum Typed {
    Line(String),
    /// Ctrl-C at the prompt.
    Dropped,
    End,
}

impl Lines {
    /// From standard input. In a terminal, lines of earlier conversations come from the file `history`, if there is
    /// one.
    pub fn open(history: Option<&Path>) -> Result<Self, Error> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(Self::Piped);
        }
        let failed = |error: ReadlineError| Error::read("the terminal".as_ref(), error);
        let mut editor = DefaultEditor::new().map_err(failed)?;
        if let Some(file) = history.filter(|file| file.exists()) {
            let loaded = editor.load_history(file);
            loaded.map_err(|error| Error::read(file, error))?;
        }
        Ok(Self::Terminal {
            editor: Box::new(editor),
            history: history.map(Path::to_path_buf),
        })
    }

    /// Whether a person types.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal { .. })
    }

    pub fn next(&mut self, prompt: &str) -> Result<Typed, Error> {
        match self {
            Self::Terminal { editor, history } => {
                let failed = |error| Error::read("the terminal".as_ref(), error);
                match editor.readline(prompt) {
                    Ok(line) => {
                        editor.add_history_entry(line.as_str()).map_err(failed)?;
                        if let Some(file) = history {
                            let saved = editor.append_history(file);
                            saved.map_err(|error| Error::write(file, error))?;
                        }
                        Ok(Typed::Line(line))
                    }
                    Err(ReadlineError::Interrupted) => Ok(Typed::Dropped),
                    Err(ReadlineError::Eof) => Ok(Typed::End),
                    Err(error) => Err(failed(error)),
                }
            }
            Self::Piped => {
                let mut line = String::new();
                let read = io::stdin().lock().read_line(&mut line);
                match read.map_err(|error| Error::read("standard input".as_ref(), error))? {
                    0 => Ok(Typed::End),
                    _ => Ok(Typed::Line(line)),
                }
            }
        }
    }
}
