//! Text of a model on a terminal.

use std::borrow::Cow;
use std::io::{IsTerminal, stdout};

use programs::printing::to_stdout;

/// Print a piece of an answer. On a terminal, control characters other than ends of lines and tabs are replaced: they
/// could move the cursor, change its title or send keys. Files and other programs get the text as it is.
pub(crate) fn print_piece(piece: &str) {
    let text = if stdout().is_terminal() {
        harmless(piece)
    } else {
        piece.into()
    };
    to_stdout(format_args!("{text}"));
}

fn harmless(text: &str) -> Cow<'_, str> {
    let is_harmful = |letter: char| letter.is_control() && letter != '\n' && letter != '\t';
    if text.contains(is_harmful) {
        text.replace(is_harmful, "\u{fffd}").into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_do_not_reach_the_terminal() {
        assert_eq!(harmless("a\tb\nä😀"), "a\tb\nä😀");
        assert_eq!(
            harmless("\u{1b}]0;title\u{7}\r\u{9b}2J"),
            "\u{fffd}]0;title\u{fffd}\u{fffd}\u{fffd}2J"
        );
    }
}
