//! Parts of messages that stay readable whatever a file holds.

use std::path::PathBuf;

/// Characters of a value in a message.
const VALUE: usize = 120;
/// Names of a list in a message.
const NAMES: usize = 8;

/// A value on one line: what cannot be printed is escaped, and the end of a long value is left out.
pub(crate) fn short(value: &str) -> String {
    let shown = escaped(value.chars().take(VALUE));
    match value.chars().count() {
        count if count > VALUE => format!("{shown}… ({count} characters)"),
        _ => shown,
    }
}

/// A message from elsewhere, on one line; the middle of a long one is left out.
pub(crate) fn middle_cut(text: &str) -> String {
    const PART: usize = 300;
    let count = text.chars().count();
    if count <= 2 * PART {
        return escaped(text.chars());
    }
    let start = escaped(text.chars().take(PART));
    let end = escaped(text.chars().skip(count - PART));
    format!(
        "{start} … ({} characters left out) … {end}",
        count - 2 * PART
    )
}

fn escaped(text: impl Iterator<Item = char>) -> String {
    let mut shown = String::new();
    for letter in text {
        if letter.is_control() {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// A shape; of one with many axes the first ones.
pub(crate) fn dims(shape: &[usize]) -> String {
    const AXES: usize = 8;
    if shape.len() <= AXES {
        return format!("{shape:?}");
    }
    let shown: Vec<String> = shape[..AXES].iter().map(usize::to_string).collect();
    format!("[{}, … ({} axes)]", shown.join(", "), shape.len())
}

/// The first names of a list, and how many there are in addition.
pub(crate) fn list(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(NAMES).map(|name| short(name)).collect();
    match names.len().saturating_sub(NAMES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The file of a configuration field, for the beginning of a message.
pub(crate) fn place(path: &Option<PathBuf>) -> String {
    match path {
        Some(path) => format!("{}: field", path.display()),
        None => "config field".into(),
    }
}

/// Bytes as people count them, `3.0 GiB`.
pub(crate) fn bytes(count: u128) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut size = count as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} bytes"),
        _ => format!("{size:.1} {}", units[unit]),
    }
}

/// What a lost language-model head is due to, if nothing else is missing.
pub(crate) fn lost_head(names: &[String]) -> &'static str {
    if names.iter().all(|name| name.starts_with("lm_head.")) {
        ": the folder was saved without its language-model head, as `AutoModel` does; load the original weights with \
         the class of the whole model, such as `T5ForConditionalGeneration` or `LlamaForCausalLM`, and save them again"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_lists_are_cut_with_a_count() {
        assert_eq!(short("relu"), "relu");
        assert_eq!(short("a\u{0}\nb"), "a\\u{0}\\nb");
        let long = short(&"ß".repeat(1000));
        assert!(long.ends_with("… (1000 characters)"), "{long}");
        assert_eq!(long.chars().filter(|&letter| letter == 'ß').count(), VALUE);
        let cut = middle_cut(&format!("a{}z", "\u{1}".repeat(1_000_000)));
        assert!(cut.starts_with('a') && cut.ends_with('z') && cut.len() < 5000);
        assert_eq!(middle_cut("a\nb"), "a\\nb");
        assert_eq!(dims(&[2, 3]), "[2, 3]");
        assert_eq!(dims(&[1; 1000]), "[1, 1, 1, 1, 1, 1, 1, 1, … (1000 axes)]");
        let names: Vec<String> = (0..10).map(|i| format!("n{i}")).collect();
        assert_eq!(list(&names[..2]), "n0, n1");
        assert_eq!(list(&names), "n0, n1, n2, n3, n4, n5, n6, n7 and 2 more");
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes(12), "12 bytes");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
        assert_eq!(bytes(1 << 70), "1048576.0 PiB");
    }
}
