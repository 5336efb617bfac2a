//! Printing that never stops a program: a reader that is gone, or a full disk behind standard output, is no
//! reason to end hours of work.
//!
//! `println!` and `eprintln!` panic where the stream is closed or full. Programs of this workspace use
//! [`out_line!`](crate::out_line) and [`err_line!`](crate::err_line) instead, with the same arguments:
//!
//! ```
//! use programs::{err_line, out_line};
//!
//! let loss = 0.25;
//! out_line!("loss {loss:.2}");
//! err_line!("warning: {} rows were left out", 3);
//! ```

use std::fmt::{Arguments, Display};
use std::io::{self, Write};

/// Characters of the longest message that the programs print about an error.
pub const LONGEST_MESSAGE: usize = 2000;
/// Names of a list that a message shows.
const LISTED: usize = 8;

/// Like `println!`, but a closed or full standard output is ignored.
#[macro_export]
macro_rules! out_line {
    ($($argument:tt)*) => {
        $crate::printing::to_stdout(::core::format_args!("{}\n", ::core::format_args!($($argument)*)))
    };
}

/// Like `eprintln!`, but a closed or full standard error is ignored.
#[macro_export]
macro_rules! err_line {
    ($($argument:tt)*) => {
        $crate::printing::to_stderr(::core::format_args!("{}\n", ::core::format_args!($($argument)*)))
    };
}

/// Write to standard output; where nobody reads it, nothing happens.
pub fn to_stdout(text: Arguments<'_>) {
    put(&mut io::stdout().lock(), text);
}

/// Write to standard error; where nobody reads it, nothing happens.
pub fn to_stderr(text: Arguments<'_>) {
    put(&mut io::stderr().lock(), text);
}

fn put(to: &mut impl Write, text: Arguments<'_>) {
    let _ = to.write_fmt(text).and_then(|()| to.flush());
}

/// A value for a message, on one line: what cannot be printed is escaped, and the end of a long value is left out.
///
/// ```
/// use programs::printing::short;
///
/// assert_eq!(short("a\tb"), "a\\tb");
/// assert!(short(&"x".repeat(5000)).ends_with("… (5000 characters)"));
/// ```
pub fn short(value: &str) -> String {
    const SHOWN: usize = 120;
    let mut shown = String::new();
    for letter in value.chars().take(SHOWN) {
        if letter.is_control() {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    match value.chars().count() {
        count if count > SHOWN => format!("{shown}… ({count} characters)"),
        _ => shown,
    }
}

/// The first names of a list for a message, and how many there are in addition.
///
/// ```
/// use programs::printing::list;
///
/// assert_eq!(list(&["a", "b"]), "a, b");
/// assert!(list(&["a"; 100]).ends_with(", a and 92 more"));
/// ```
pub fn list<S: AsRef<str>>(names: &[S]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(LISTED)
        .map(|name| short(name.as_ref()))
        .collect();
    match names.len().saturating_sub(LISTED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The same for a list of values, each of them in quotation marks.
///
/// ```
/// use programs::printing::quoted_list;
///
/// assert_eq!(quoted_list(["a", "b"]), "`a`, `b`");
/// assert!(quoted_list(["a"; 100]).ends_with(", `a` and 92 more"));
/// ```
pub fn quoted_list<S: AsRef<str>>(values: impl IntoIterator<Item = S>) -> String {
    let mut values = values.into_iter();
    let first = values.by_ref().take(LISTED);
    let shown: Vec<String> = first
        .map(|value| format!("`{}`", short(value.as_ref())))
        .collect();
    match values.count() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// An error as a message of at most [`LONGEST_MESSAGE`] characters. The middle of a longer one is left out: its
/// beginning says where the error is, its end often how to fix it.
///
/// Errors should keep their own lists and values short; this is for those that come from elsewhere.
///
/// ```
/// use programs::printing::{LONGEST_MESSAGE, message};
///
/// assert_eq!(message(&"the disk is full"), "the disk is full");
/// let cut = message(&format!("start {} end", "x".repeat(10_000)));
/// assert!(cut.chars().count() <= LONGEST_MESSAGE);
/// assert!(cut.starts_with("start xx") && cut.ends_with("xx end"));
/// assert!(cut.contains("characters left out"));
/// ```
pub fn message(error: &dyn Display) -> String {
    let text = error.to_string();
    let count = text.chars().count();
    if count <= LONGEST_MESSAGE {
        return text;
    }
    // Room for the words in the middle.
    let (head, tail) = (LONGEST_MESSAGE - 600, 500);
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(count - tail).collect();
    format!(
        "{start} … ({} characters left out) … {end}",
        count - head - tail
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that refuses everything, as a closed pipe or `/dev/full` does.
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn a_stream_that_refuses_is_ignored() {
        put(&mut Full, format_args!("one {}\n", 1));
        let mut kept = Vec::new();
        put(&mut kept, format_args!("one {}\n", 1));
        assert_eq!(kept, b"one 1\n");
    }

    #[test]
    fn messages_are_cut_by_characters() {
        let text = "é".repeat(LONGEST_MESSAGE);
        assert_eq!(message(&text), text);
        let cut = message(&format!("{text}ü"));
        assert!(cut.chars().count() <= LONGEST_MESSAGE);
        assert!(cut.ends_with('ü'));
    }
}
