//! Whether a written answer is the expected one.

use std::sync::LazyLock;

use regex::Regex;

/// What comes before the result in answers of GSM8K.
const RESULT: &str = "####";

/// Numbers as people write them: `-1,234.5`.
static NUMBER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"-?\d[\d,]*(?:\.\d+)?|-?\.\d+").ok());

/// Whether an answer says what was expected.
///
/// Where the expected answer has its result behind `####`, as in GSM8K, that number is compared with the one behind
/// `####` in the answer, or else with the last number in it. All other answers must be the same text, but for white
/// space at the ends.
///
/// ```
/// use finetune::test_answers::exact_match;
///
/// let expected = "She has 3 boxes of 350.\n#### 1,050";
/// assert!(exact_match(expected, "3 times 350 is 1050.0."));
/// assert!(exact_match(expected, "So\n#### 1050\nThat was 3 times 350."));
/// assert!(!exact_match(expected, "It is 1050 or 350"));
/// assert!(exact_match("a verb", " a verb\n") && !exact_match("a verb", "A verb"));
/// ```
pub fn exact_match(expected: &str, found: &str) -> bool {
    match expected.rsplit_once(RESULT) {
        Some((_, result)) => match (number(result, First), number_of(found)) {
            (Some(expected), Some(found)) => expected == found,
            (None, _) => result.trim() == found.rsplit(RESULT).next().unwrap_or(found).trim(),
            (Some(_), None) => false,
        },
        None => expected.trim() == found.trim(),
    }
}

/// The number that an answer ends with.
fn number_of(answer: &str) -> Option<f64> {
    match answer.rsplit_once(RESULT) {
        Some((_, result)) => number(result, First),
        None => number(answer, Last),
    }
}

enum Which {
    First,
    Last,
}
use Which::{First, Last};

fn number(text: &str, which: Which) -> Option<f64> {
    let mut found = NUMBER.as_ref()?.find_iter(text);
    let found = match which {
        First => found.next(),
        Last => found.last(),
    };
    found?.as_str().replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_as_numbers() {
        let right = |expected: &str, found: &str| exact_match(expected, found);
        assert!(right("#### 18", "The answer is $18."));
        assert!(right("#### 18", "Janet sells 9 eggs.\n#### 18 dollars"));
        assert!(right("#### -2.50", "it falls by -2.5"));
        assert!(right("#### 1,234,567", "1234567"));
        assert!(!right("#### 18", "eighteen"));
        assert!(!right("#### 18", ""));
        assert!(!right("#### 18", "#### 81 or 18"));
        // No number at all: the words count.
        assert!(right("so\n#### yes", "so\n#### yes "));
        assert!(!right("so\n#### yes", "no"));
    }
}
