//! Quotation marks of CSV that are not where they belong.
//!
//! Readers take a mark that is never closed as the begin of one long text: all rows behind it would be lost without
//! a word.

use std::path::Path;

use crate::data::error::Error;

const FIX: &str = "put a field that has quotation marks into quotation marks and double each of its own; if they are \
                   plain characters in this file, use `--quotes off`";

/// Where a reader is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the begin of a field.
    Begin,
    /// In a field without quotation marks.
    Plain,
    /// In a field that began with a mark on this line.
    Quoted(u64),
    /// Behind a mark in a field that began with one on this line: the end of the field, or the first of two.
    Mark(u64),
}

/// Follows a text byte by byte.
pub(crate) struct Marks {
    delimiter: u8,
    place: Place,
    line: u64,
}

impl Marks {
    pub(crate) fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            place: Place::Begin,
            line: 1,
        }
    }

    /// Go on by a byte; the line and the problem of a mark that is not where it belongs.
    pub(crate) fn feed(&mut self, byte: u8) -> Result<(), (u64, String)> {
        let ends = byte == self.delimiter || byte == b'\r' || byte == b'\n';
        self.place = match (self.place, byte) {
            (Place::Begin, b'"') => Place::Quoted(self.line),
            (Place::Quoted(begin), b'"') => Place::Mark(begin),
            (Place::Mark(begin), b'"') => Place::Quoted(begin),
            (Place::Plain, b'"') => {
                let problem = format!("a quotation mark inside of a field without them: {FIX}");
                return Err((self.line, problem));
            }
            (Place::Mark(begin), _) if !ends => {
                let problem = format!(
                    "text behind the quotation mark that ends a field (it began on line {begin}): {FIX}"
                );
                return Err((self.line, problem));
            }
            (Place::Quoted(begin), _) => Place::Quoted(begin),
            _ if ends => Place::Begin,
            _ => Place::Plain,
        };
        self.line += u64::from(byte == b'\n');
        Ok(())
    }

    /// The text ends here; the line and the problem of a mark that is open.
    pub(crate) fn end(&self) -> Result<(), (u64, String)> {
        match self.place {
            Place::Quoted(begin) => {
                let problem = format!("a quotation mark that is never closed: {FIX}");
                Err((begin, problem))
            }
            _ => Ok(()),
        }
    }
}

/// Check that every quotation mark opens or closes a field or is one of two inside of a quoted field.
///
/// # Errors
///
/// [`Error::Line`] with the line of the first that does not.
pub(super) fn check(path: &Path, text: &str, delimiter: u8) -> Result<(), Error> {
    let mut marks = Marks::new(delimiter);
    let mut bytes = text.bytes();
    let all = bytes.try_for_each(|byte| marks.feed(byte));
    all.and_then(|()| marks.end())
        .map_err(|(line, problem)| Error::line(path, line, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Option<String> {
        let error = check("t.csv".as_ref(), text, b',').err()?.to_string();
        let (place, _) = error
            .split_once(" a quotation")
            .or(error.split_once(" text"))?;
        Some(place.into())
    }

    #[test]
    fn marks_that_quote_fields_pass() {
        for text in [
            "",
            "a,b\n1,2",
            "a,\"b\"\n\"one\ntwo\",\"\"\r\n\"say \"\"hi\"\"\",\"\"\"\"\n",
            "\"a\",\"b, c\"",
        ] {
            assert_eq!(refused(text), None, "{text}");
        }
    }

    #[test]
    fn marks_without_a_partner_are_refused_by_line() {
        let at = |line: u64| Some(format!("t.csv, line {line}:"));
        assert_eq!(refused("a,b\n\"open,x\nc,y\n"), at(2));
        assert_eq!(refused("a,b\nc,x\nsay \"hi\",y\n"), at(3));
        assert_eq!(refused("a,b\n5\" disk,x\n"), at(2));
        // The next mark is taken for its end.
        assert_eq!(refused("a,b\n\"open,x\nc,y\n\"also open,z\n"), at(4));
        assert_eq!(refused("a,b\n\"c\" ,x\n"), at(2));
        assert_eq!(refused("a,b\n\"c\"d\"\",x\n"), at(2));
        assert_eq!(refused("a,b\nc,\""), at(2));
    }
}
