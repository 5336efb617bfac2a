//! How many lines differ between the two forms of an example.

use similar::{ChangeTag, TextDiff};

/// Lines of the functions `…_recorded` of a source file that are not, in the same order, lines of the function
/// before them without that ending. The line with the function's name does not count, nor do blank lines, nor
/// what comes from `impl Port` on, which the examples do not have.
pub(super) fn changed_lines(source: &str) -> usize {
    let own = source.split("\nimpl Port for ").next().unwrap_or(source);
    let functions = functions(own);
    let mut changed = 0;
    for (at, (name, lines)) in functions.iter().enumerate() {
        let Some(plain) = name.strip_suffix("_recorded") else {
            continue;
        };
        let before = functions[..at].iter().rev();
        if let Some((_, original)) = before.clone().find(|(name, _)| name == plain) {
            let diff = TextDiff::from_slices(original, lines);
            let changes = diff.iter_all_changes();
            changed += changes
                .filter(|change| change.tag() == ChangeTag::Insert)
                .count();
        }
    }
    changed
}

/// Names and bodies of all functions, trimmed.
fn functions(source: &str) -> Vec<(String, Vec<&str>)> {
    let mut found = Vec::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let start = line.trim_start();
        let indent = &line[..line.len() - start.len()];
        let start = start.strip_prefix("pub ").unwrap_or(start);
        let Some(rest) = start.strip_prefix("fn ") else {
            continue;
        };
        let name = rest
            .split(['(', '<'])
            .next()
            .unwrap_or_default()
            .to_string();
        let end = format!("{indent}}}");
        let mut body = Vec::new();
        // The signature may take several lines; it ends with the brace.
        let mut signature = line;
        while !signature.ends_with('{') {
            match lines.next() {
                Some(next) => signature = next,
                None => break,
            }
        }
        for line in lines.by_ref().take_while(|line| *line != end) {
            if !line.trim().is_empty() {
                body.push(line.trim());
            }
        }
        found.push((name, body));
    }
    found
}

#[test]
fn added_and_changed_lines_count_and_blank_ones_do_not() {
    let source = "
impl Model {
    pub fn loss(
        &self,
    ) -> f32 {
        let x = self.a.forward(1.0);

        let y = x + 1.0;
        y
    }

    pub fn loss_recorded(&self) -> f32 {
        declare();
        let x = self.a.forward_recorded(1.0);
        let y = x + 1.0;
        y
    }

    fn other(&self) {
        something();
    }
}
    ";
    assert_eq!(changed_lines(source), 2);
    assert_eq!(changed_lines("fn a_recorded() {\n    b();\n}\n"), 0);
}
