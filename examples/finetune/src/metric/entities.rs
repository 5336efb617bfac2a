//! Entities in sequences of tags, as `seqeval` counts them.

use super::{f1, share};

/// Words from `start` up to `end` (exclusive) that are one entity.
///
/// ```
/// use finetune::metric::entities;
///
/// let found = entities(&["B-PER", "I-PER", "O", "B-LOC"]);
/// assert_eq!((found[0].start, found[0].end, found[0].kind), (0, 2, "PER"));
/// assert_eq!((found[1].start, found[1].end, found[1].kind), (3, 4, "LOC"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Entity<'a> {
    /// The first word.
    pub start: usize,
    /// Behind the last word.
    pub end: usize,
    /// Its type.
    pub kind: &'a str,
}

/// A tag in two parts: its letter, and the type of its entity.
fn parts(tag: &str) -> (char, &str) {
    let letter = tag.chars().next().unwrap_or('O');
    let rest = tag.get(letter.len_utf8()..).unwrap_or_default();
    let kind = rest.split_once('-').map_or(rest, |(_, kind)| kind);
    (letter, if kind.is_empty() { "_" } else { kind })
}

/// The entities in tags of one text, by the rules of `conlleval` and of `seqeval` without its strict mode: `B` begins an
/// entity, `I` goes on with one of the same type, and an `I` without such a beginning begins one itself. Of the
/// schemes with ends, `E` ends an entity and `S` is one.
pub fn entities<'a, T: AsRef<str>>(tags: &'a [T]) -> Vec<Entity<'a>> {
    let mut found = Vec::new();
    let mut open: Option<(usize, &str)> = None;
    let mut before = ('O', "_");
    for (place, tag) in tags.iter().enumerate() {
        let (letter, kind) = parts(tag.as_ref());
        if ends(before, (letter, kind))
            && let Some((start, kind)) = open.take()
        {
            found.push(Entity {
                start,
                end: place,
                kind,
            });
        }
        if begins(before, (letter, kind)) {
            open = Some((place, kind));
        }
        before = (letter, kind);
    }
    if let Some((start, kind)) = open {
        found.push(Entity {
            start,
            end: tags.len(),
            kind,
        });
    }
    found
}

/// Whether an entity ends between these tags.
fn ends((before, kind_before): (char, &str), (letter, kind): (char, &str)) -> bool {
    match (before, letter) {
        ('E' | 'S', _) => true,
        ('B' | 'I', 'B' | 'S' | 'O') => true,
        ('O' | '.', _) => false,
        _ => kind_before != kind,
    }
}

/// Whether an entity begins with the second of these tags.
fn begins((before, kind_before): (char, &str), (letter, kind): (char, &str)) -> bool {
    match (before, letter) {
        (_, 'B' | 'S') => true,
        ('E' | 'S' | 'O', 'E' | 'I') => true,
        (_, 'O' | '.') => false,
        _ => kind_before != kind,
    }
}

/// Counts of entities over all texts.
pub(super) struct Found {
    right: usize,
    predicted: usize,
    truth: usize,
}

impl Found {
    /// In tags by number, of these names.
    pub fn of(rows: &[(Vec<usize>, Vec<usize>)], names: &[String]) -> Self {
        let mut found = Self {
            right: 0,
            predicted: 0,
            truth: 0,
        };
        for (predicted, truth) in rows {
            let [predicted, truth] = [predicted, truth].map(|tags| named(tags, names));
            let [predicted, truth] = [&predicted, &truth].map(|tags| entities(tags));
            // Both are in the order of their first words.
            let is_right = |entity: &&Entity<'_>| truth.binary_search(entity).is_ok();
            found.right += predicted.iter().filter(is_right).count();
            found.predicted += predicted.len();
            found.truth += truth.len();
        }
        found
    }

    pub fn precision(&self) -> f64 {
        share(self.right, self.predicted)
    }

    pub fn recall(&self) -> f64 {
        share(self.right, self.truth)
    }

    pub fn f1(&self) -> f64 {
        f1(self.right, self.predicted + self.truth - 2 * self.right)
    }
}

/// The names of tags; one that there is not is `O`.
fn named<'n>(tags: &[usize], names: &'n [String]) -> Vec<&'n str> {
    let name = |&tag: &usize| names.get(tag).map_or("O", String::as_str);
    tags.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// What `scripts/make_seqeval.py` wrote.
    #[derive(Deserialize)]
    struct Case {
        predicted: Vec<Vec<String>>,
        truth: Vec<Vec<String>>,
        precision: f64,
        recall: f64,
        f1: f64,
    }

    #[test]
    fn entities_are_those_of_seqeval() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("seqeval.json")).unwrap();
        assert!(cases.len() > 20);
        for case in cases {
            let mut names: Vec<String> = Vec::new();
            let mut numbers = |tags: &[String]| -> Vec<usize> {
                let number = |tag: &String| {
                    names
                        .iter()
                        .position(|name| name == tag)
                        .unwrap_or_else(|| {
                            names.push(tag.clone());
                            names.len() - 1
                        })
                };
                tags.iter().map(number).collect()
            };
            let rows: Vec<_> = case
                .predicted
                .iter()
                .zip(&case.truth)
                .map(|(predicted, truth)| (numbers(predicted), numbers(truth)))
                .collect();
            let found = Found::of(&rows, &names);
            for (found, expected) in [
                (found.precision(), case.precision),
                (found.recall(), case.recall),
                (found.f1(), case.f1),
            ] {
                assert!(
                    (found - expected).abs() < 1e-12,
                    "{found} {expected}: {rows:?} {names:?}"
                );
            }
        }
    }

    #[test]
    fn an_inside_without_a_beginning_begins_an_entity() {
        let kinds = |tags: &[&str]| {
            let found = entities(tags).into_iter();
            found
                .map(|it| (it.start, it.end, it.kind.to_string()))
                .collect::<Vec<_>>()
        };
        let per = |start, end| (start, end, "PER".to_string());
        assert_eq!(kinds(&["I-PER", "I-PER", "O"]), [per(0, 2)]);
        assert_eq!(kinds(&["B-PER", "B-PER"]), [per(0, 1), per(1, 2)]);
        assert_eq!(
            kinds(&["B-PER", "I-LOC"]),
            [per(0, 1), (1, 2, "LOC".into())]
        );
        assert_eq!(kinds(&["O", "O"]), []);
        assert_eq!(kinds(&["B", "I"]), [(0, 2, "_".into())]);
    }
}
