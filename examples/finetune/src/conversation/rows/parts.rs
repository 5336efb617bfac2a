//! The parts of a list or an object in a JSON text, for their places in it.

use std::ops::Range;

/// Where the parts of the list or object that begins at `open` are; those of an object are `"key": value`.
///
/// The text must be JSON.
pub(super) fn parts(text: &str, open: usize) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let (mut parts, mut start) = (Vec::new(), open + 1);
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for (at, byte) in bytes.iter().enumerate().skip(open + 1) {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth > 0 => depth -= 1,
            b',' if depth == 0 => {
                parts.push(trimmed(text, start..at));
                start = at + 1;
            }
            b']' | b'}' => {
                let last = trimmed(text, start..at);
                if !last.is_empty() {
                    parts.push(last);
                }
                break;
            }
            _ => {}
        }
    }
    parts
}

/// Without the space around it.
fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let start = range.start + (part.len() - part.trim_start().len());
    start..start + part.trim().len()
}

/// Key and place of the value of a part of an object.
pub(super) fn member(text: &str, part: &Range<usize>) -> Option<(String, usize)> {
    let mut stream = serde_json::Deserializer::from_str(&text[part.clone()]).into_iter::<String>();
    let key = stream.next()?.ok()?;
    let rest = &text[part.start + stream.byte_offset()..part.end];
    let value = rest.trim_start().strip_prefix(':')?.trim_start();
    Some((key, part.end - value.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_and_commas_in_texts_do_not_count() {
        let text = r#" [ {"a": "],\"}"}, [1, 2] ,"x,y", {} ] "#;
        let found: Vec<&str> = parts(text, 1).into_iter().map(|part| &text[part]).collect();
        assert_eq!(found, [r#"{"a": "],\"}"}"#, "[1, 2]", r#""x,y""#, "{}"]);
        assert!(parts("[ ]", 0).is_empty());
    }

    #[test]
    fn keys_may_hold_escapes() {
        let text = r#"{"a\"b" : [1], "c":2}"#;
        let found: Vec<_> = parts(text, 0)
            .iter()
            .map(|part| member(text, part).unwrap())
            .collect();
        assert_eq!(found[0], ("a\"b".into(), text.find('[').unwrap()));
        assert_eq!(found[1], ("c".into(), text.find('2').unwrap()));
    }
}
