//! `{% generation %}` and `{% endgeneration %}`, with which templates mark what the model says.
//!
//! They become the tags of a filter that puts marks around the text, because that keeps what the tags do to the white
//! space next to them.

use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Name of the filter; no template has one of this name.
pub(super) const FILTER: &str = "mark_generation";
/// Around a marked text. Unicode keeps these code points for the inside of programs: no text has them.
const MARKS: [char; 2] = ['\u{fdd0}', '\u{fdd1}'];

static TAGS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(\{%[-+]?)\s*(end)?generation\s*([-+]?%\})").expect("a valid expression")
});

/// The template with the tags of a filter, and whether it had any.
pub(super) fn rewrite(template: &str) -> (String, bool) {
    let tag = |found: &Captures<'_>| {
        let (open, close) = (&found[1], &found[3]);
        match found.get(2) {
            Some(_) => format!("{open} endfilter {close}"),
            None => format!("{open} filter {FILTER} {close}"),
        }
    };
    (
        TAGS.replace_all(template, tag).into_owned(),
        TAGS.is_match(template),
    )
}

/// The filter.
pub(super) fn mark(text: String) -> String {
    let [open, close] = MARKS;
    format!("{open}{text}{close}")
}

/// Whether a text has marks.
pub(super) fn is_marked(text: &str) -> bool {
    text.contains(MARKS)
}

/// The text without marks, and what was between them, in bytes.
pub(super) fn split(marked: &str) -> (String, Vec<Range<usize>>) {
    let mut text = String::with_capacity(marked.len());
    let (mut ranges, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for letter in marked.chars() {
        if letter == MARKS[0] {
            if depth == 0 {
                start = text.len();
            }
            depth += 1;
        } else if letter == MARKS[1] {
            // A template may have taken the beginning off.
            let closes = depth == 1;
            depth = depth.saturating_sub(1);
            if closes && start < text.len() {
                ranges.push(start..text.len());
            }
        } else {
            text.push(letter);
        }
    }
    (text, ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_keep_their_white_space_control() {
        let (found, some) = rewrite(
            "a{%- generation -%} b {%endgeneration%}\n{% generation %}c{%- endgeneration +%}",
        );
        let expected = "a{%- filter mark_generation -%} b {% endfilter %}\n{% filter mark_generation %}c{%- endfilter +%}";
        assert_eq!(found, expected);
        assert!(some);
        let other = "{% if add_generation_prompt %}generation{% endif %}";
        assert_eq!(rewrite(other), (other.into(), false));
    }

    #[test]
    fn marks_become_ranges_of_bytes() {
        let marked = format!(
            "é{}b{} c{}{}",
            mark("😀".into()),
            mark("d".into()),
            mark(String::new()),
            mark(mark("e".into()))
        );
        let (text, ranges) = split(&marked);
        assert_eq!(text, "é😀bd ce");
        let found: Vec<&str> = ranges.into_iter().map(|range| &text[range]).collect();
        assert_eq!(found, ["😀", "d", "e"]);
        let [open, close] = MARKS;
        assert_eq!(
            split(&format!("a{close}b{open}c")),
            ("abc".into(), Vec::new())
        );
    }
}
