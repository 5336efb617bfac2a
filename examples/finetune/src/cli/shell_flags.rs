//! Flags of `finetune completions`, `man` and `doctor`.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use programs::printing::to_stdout;

use super::Cli;
use crate::doctor;
use crate::error::Error;

const NAME: &str = "finetune";

/// Print a script that lets a shell complete commands and flags.
///
/// For bash: finetune completions bash > ~/.local/share/bash-completion/completions/finetune
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionsArgs {
    /// Print it.
    pub fn print(&self) {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), NAME, &mut script);
        to_stdout(format_args!("{}", String::from_utf8_lossy(&script)));
    }
}

/// Write man pages: one for the program, and one for each command.
///
/// Afterwards: man -l DIR/finetune.1
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder for the pages.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

impl ManArgs {
    /// Write them; returns their paths.
    ///
    /// # Errors
    ///
    /// [`Error::Write`].
    pub fn write(&self) -> Result<Vec<PathBuf>, Error> {
        std::fs::create_dir_all(&self.out).map_err(|error| Error::write(&self.out, error))?;
        let mut program = Cli::command();
        program.build();
        let mut written = vec![self.page(NAME, &program)?];
        for command in program
            .get_subcommands()
            .filter(|command| command.get_name() != "help")
        {
            let name = format!("{NAME}-{}", command.get_name());
            written.push(self.page(&name, command)?);
        }
        Ok(written)
    }

    fn page(&self, name: &str, command: &clap::Command) -> Result<PathBuf, Error> {
        let path = self.out.join(format!("{name}.1"));
        let failed = |error| Error::write(&path, error);
        let mut page = Vec::new();
        clap_mangen::Man::new(command.clone())
            .render(&mut page)
            .map_err(failed)?;
        let file = std::fs::File::create(&path);
        file.and_then(|mut file| file.write_all(&page))
            .map_err(failed)?;
        Ok(path)
    }
}

/// Print what the program finds here: version, features, devices, processor, memory, models, adapters and runs.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Folders that are searched, four levels deep.
    #[arg(value_name = "DIR", default_value = ".")]
    folders: Vec<PathBuf>,
}

impl DoctorArgs {
    /// Print it.
    pub fn print(&self) {
        to_stdout(format_args!("{}", doctor::report(&self.folders)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        let args = ManArgs {
            out: folder.path().join("man"),
        };
        let written = args.write().unwrap();
        let commands = Cli::command();
        assert_eq!(written.len(), commands.get_subcommands().count() + 1);
        let page = std::fs::read_to_string(folder.path().join("man/finetune-serve.1")).unwrap();
        assert!(
            page.contains("finetune\\-serve") && page.contains("token\\-env"),
            "{page}"
        );
        let refused = ManArgs {
            out: folder.path().join("man/finetune.1/below"),
        };
        assert!(matches!(refused.write(), Err(Error::Write(_))));
    }
}
