//! Tables in a page.

use std::path::Path;

use programs::files;

use crate::error::Error;

/// The line before the tables.
pub const BEGIN: &str = "<!-- tables: begin -->";
/// The line behind the tables.
pub const END: &str = "<!-- tables: end -->";

/// Write tables into a page, in place of what is between its two marks.
///
/// # Errors
///
/// [`Error::Page`] if the marks are not there, [`Error::Read`] and [`Error::Write`].
pub fn update(path: &Path, tables: &str) -> Result<(), Error> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::read(path, error))?;
    let updated = replace(&text, tables).ok_or_else(|| Error::Page {
        path: path.into(),
        begin: BEGIN,
        end: END,
    })?;
    Ok(files::write(path, updated)?)
}

/// The page with other tables; none if the marks are not there once each and in order.
fn replace(text: &str, tables: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let place = |mark: &str| {
        let mut places = (0..lines.len()).filter(|&place| lines[place].trim() == mark);
        let first = places.next()?;
        places.next().is_none().then_some(first)
    };
    let (begin, end) = (place(BEGIN)?, place(END)?);
    if begin >= end {
        return None;
    }
    let mut all = lines[..=begin].to_vec();
    all.extend(["", tables.trim(), ""]);
    all.extend(&lines[end..]);
    Some(all.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_replaced_and_the_rest_stays() {
        let page = format!("# A\n\n{BEGIN}\nold\n{END}\n\nafter\n");
        let first = replace(&page, "one\ntwo\n").unwrap();
        assert_eq!(
            first,
            format!("# A\n\n{BEGIN}\n\none\ntwo\n\n{END}\n\nafter\n")
        );
        assert_eq!(replace(&first, "one\ntwo").unwrap(), first);
        for wrong in [
            "nothing".to_string(),
            format!("{END}\n{BEGIN}\n"),
            format!("{BEGIN}\n{BEGIN}\n{END}\n"),
        ] {
            assert_eq!(replace(&wrong, "x"), None);
        }
    }

    #[test]
    fn a_page_without_marks_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.md");
        std::fs::write(&path, "# A\n").unwrap();
        let error = update(&path, "x").unwrap_err().to_string();
        assert!(
            error.contains("page.md") && error.contains(BEGIN),
            "{error}"
        );
    }
}
