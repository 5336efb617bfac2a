//! Where rows are from.

use std::io::{BufRead, BufReader, stdin};
use std::path::{Path, PathBuf};

use programs::reading;

use super::columns::Columns;
use super::rows::Rows;
use crate::data::{Error, is_picture, recognised, sentences};

/// The file, folder or stream whose rows are predicted.
///
/// ```no_run
/// use finetune::predict::Input;
///
/// let input = Input::file("new.csv".as_ref())?;
/// # Ok::<(), finetune::Error>(())
/// ```
pub struct Input {
    path: PathBuf,
    from: Origin,
}

enum Origin {
    Reader(Box<dyn BufRead>),
    /// Of pictures.
    Folder,
}

/// What can be read.
const EXPECTED: &str = "a table in CSV with a header, JSON lines, or a folder of PNG or JPEG files for a model of pictures";

impl Input {
    /// A table, or a folder of pictures.
    ///
    /// # Errors
    ///
    /// [`Error::Data`](crate::Error::Data) for a path that is nothing of this.
    pub fn file(path: &Path) -> Result<Self, crate::Error> {
        if path.is_dir() {
            return Ok(Self {
                path: path.into(),
                from: Origin::Folder,
            });
        }
        let file = reading::open(path).map_err(|source| Error::read(path, source, EXPECTED))?;
        Ok(Self {
            path: path.into(),
            from: Origin::Reader(Box::new(BufReader::new(file))),
        })
    }

    /// A table from standard input: JSON lines if it begins with `{`, or else CSV.
    pub fn stdin() -> Self {
        Self {
            path: "-".into(),
            from: Origin::Reader(Box::new(BufReader::new(stdin()))),
        }
    }

    /// Whether the rows are JSON lines, as far as the name says.
    pub(crate) fn is_json(&self) -> bool {
        let extension = self.path.extension();
        extension.is_some_and(|end| {
            end.eq_ignore_ascii_case("jsonl") || end.eq_ignore_ascii_case("json")
        })
    }

    /// The rows.
    pub(super) fn rows(
        self,
        columns: &Columns,
        is_image: bool,
        quotes: Option<bool>,
    ) -> Result<Rows, Error> {
        let is_json = self.is_json();
        let path = shown(&self.path);
        let mut reader = match self.from {
            Origin::Folder if is_image => {
                let mut files = Vec::new();
                pictures(&self.path, &mut files)?;
                if files.is_empty() {
                    return Err(Error::file(&path, "no PNG or JPEG file in this folder"));
                }
                return Ok(Rows::pictures(path, files, columns));
            }
            Origin::Folder => {
                let problem = "a folder; expected a table in CSV with a header, or JSON lines";
                return Err(Error::file(&path, problem));
            }
            Origin::Reader(reader) => reader,
        };
        let start = reader
            .fill_buf()
            .map_err(|source| Error::read(&path, source, EXPECTED))?;
        if let Some(foreign) = recognised(start) {
            let problem = format!("{}, expected {EXPECTED}: {}", foreign.what, foreign.fix);
            return Err(Error::file(&path, problem));
        }
        let text = start.strip_prefix("\u{feff}".as_bytes()).unwrap_or(start);
        let is_conll = columns.words && !is_json && self.path.extension().is_some_and(is_conll);
        if is_conll {
            let found = sentences(&self.path)?;
            return Ok(Rows::sentences(path, found, columns));
        }
        let begins = |byte: u8| text.iter().find(|b| !b.is_ascii_whitespace()) == Some(&byte);
        if begins(b'[') && is_json {
            let problem = "one list of all rows, expected one JSON object on each line";
            return Err(Error::file(&path, problem));
        }
        let is_json = is_json || begins(b'{');
        // Paths of pictures are as seen from the table.
        let folder = is_image.then(|| self.path.parent().unwrap_or(Path::new("")).to_path_buf());
        if is_json {
            return Ok(Rows::jsonl(path, reader, columns, folder));
        }
        let extension = self.path.extension();
        let tabs = extension.is_some_and(|end| end.eq_ignore_ascii_case("tsv"));
        let delimiter = if tabs { b'\t' } else { b',' };
        // Programs that write tabs do not quote: a mark is a character of the text.
        let quoting = quotes.unwrap_or(!tabs);
        Rows::csv(path, reader, delimiter, quoting, columns, folder)
    }
}

/// Whether a file's name ends as those of CoNLL's form do.
fn is_conll(end: &std::ffi::OsStr) -> bool {
    let ends = ["conll", "iob2", "iob", "bio", "txt", "conll03"];
    ends.iter().any(|known| end.eq_ignore_ascii_case(known))
}

/// The pictures in a folder and in those below, in the order of their names.
fn pictures(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let read = |source| Error::read(folder, source, EXPECTED);
    let entries = std::fs::read_dir(folder).map_err(read)?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(read)?.path());
    }
    paths.sort();
    for path in paths {
        if path.is_dir() {
            pictures(&path, files)?;
        } else if is_picture(&path) {
            files.push(path);
        }
    }
    Ok(())
}

/// What is read, for messages: a path, or standard input.
fn shown(path: &Path) -> PathBuf {
    if path.as_os_str() == "-" {
        "standard input".into()
    } else {
        path.into()
    }
}
