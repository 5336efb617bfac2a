//! Values and lists of the user's in messages.

use std::fmt;

pub(super) fn near_text(near: &[String]) -> String {
    match near {
        [] => String::new(),
        near => {
            let near: Vec<String> = near.iter().map(short).collect();
            format!("; near names: {}", near.join(", "))
        }
    }
}

/// Names in a message; of a long list the first ones and the number of the others.
pub(super) fn listed(names: &[String]) -> String {
    const MOST: usize = 4;
    if names.is_empty() {
        return "none".into();
    }
    let shown = names.iter().take(MOST);
    let shown: Vec<String> = shown.map(|name| format!("`{}`", short(name))).collect();
    match names.len().saturating_sub(MOST) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A value of the user's in a message: cut where it is long, and without control characters.
pub(super) fn short(value: impl fmt::Display) -> String {
    const LONGEST: usize = 240;
    let text = value.to_string();
    let length = text.chars().count();
    let visible = |letter: char| {
        if letter.is_control() {
            '\u{fffd}'
        } else {
            letter
        }
    };
    if length <= LONGEST {
        return text.chars().map(visible).collect();
    }
    let start: String = text.chars().take(LONGEST).map(visible).collect();
    format!("{start}… ({length} characters)")
}
