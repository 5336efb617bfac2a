//! How many lines differ between the two forms of an example.

/// Lines of the functions `…_recorded` of a source file that are not, in the same order, lines of the function
/// before them without that ending. The line with the function's name does not count, nor do blank lines, nor
/// what comes from `impl Port` on, which the examples do not have.
///
/// ```
/// let source = "
/// fn forward(x: f32) -> f32 {
///     let x = a.forward(x);
///     x.abs()
/// }
/// fn forward_recorded(x: f32) -> f32 {
///     let x = a.forward_recorded(x);
///     x.abs()
/// }
/// ";
/// assert_eq!(ports::changes::changed_lines(source), 1);
/// ```
pub fn changed_lines(source: &str) -> usize {
    let own = source.split("\nimpl Port for ").next().unwrap_or(source);
    let functions = functions(own);
    let mut changed = 0;
    for (at, (name, lines)) in functions.iter().enumerate() {
        let Some(plain) = name.strip_suffix("_recorded") else {
            continue;
        };
        let before = functions[..at].iter().rev();
        if let Some((_, original)) = before.clone().find(|(name, _)| name == plain) {
            changed += lines.len() - common(original, lines);
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

/// Length of the longest common subsequence.
fn common(a: &[&str], b: &[&str]) -> usize {
    let mut row = vec![0; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (at, y) in b.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = if x == y {
                diagonal + 1
            } else {
                above.max(row[at])
            };
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn moved_lines_count_once() {
        assert_eq!(common(&["a", "b", "c"], &["b", "a", "c"]), 2);
        assert_eq!(common(&[], &["a"]), 0);
    }
}
