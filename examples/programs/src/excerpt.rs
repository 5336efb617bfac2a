//! Values and lists as messages show them: short, on one line, and without control characters.

/// Characters of the longest value that a message shows.
const LONGEST: usize = 80;
/// Values of the longest list that a message shows.
const MOST: usize = 12;

/// The beginning of a value, with control characters as their escapes.
///
/// ```
/// use programs::excerpt::excerpt;
///
/// assert_eq!(excerpt("a\tb"), "a\\tb");
/// let long = excerpt(&"x".repeat(1_000_000));
/// assert_eq!(long, format!("{}… (1000000 characters)", "x".repeat(80)));
/// ```
pub fn excerpt(value: &str) -> String {
    let mut shown = String::new();
    for letter in value.chars().take(LONGEST) {
        if letter.is_control() {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    match value.chars().count() {
        count if count > LONGEST => format!("{shown}… ({count} characters)"),
        _ => shown,
    }
}

/// The first values of a list, and how many there are more.
///
/// ```
/// use programs::excerpt::listed;
///
/// assert_eq!(listed(["a", "b"]), "`a`, `b`");
/// assert_eq!(listed(["a"; 15]), format!("{} and 3 more", ["`a`"; 12].join(", ")));
/// assert_eq!(listed([""; 0]), "nothing");
/// ```
pub fn listed<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> String {
    let mut values = values.into_iter();
    let first = values.by_ref().take(MOST);
    let shown: Vec<String> = first
        .map(|value| format!("`{}`", excerpt(value.as_ref())))
        .collect();
    match values.count() {
        _ if shown.is_empty() => "nothing".into(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
