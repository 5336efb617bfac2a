//! Movie review snippets with mean sentiment scores.

use super::error::Error;
use super::lines::{Encoding, locate, numbered, read};
use super::split::{Parts, Repeats, arrange};
use super::{DataSource, Label, LeftOut, Splits, TextExample};
use crate::problem::Problem;

pub(super) const FILES: &str = "a folder with `movieReviewSnippets_GroundTruth.txt`";
const FILE: &str = "movieReviewSnippets_GroundTruth.txt";
const HEADER: [&str; 3] = ["id", "sentiment", "text"];
/// Scores nearer to 0 have no label.
const DECIDED: f64 = 0.5;

/// The sign of the scores as classes, or the scores.
pub(super) fn load(problem: Problem, options: &DataSource) -> Result<Splits<TextExample>, Error> {
    let mut left_out = LeftOut::default();
    let path = locate(&options.folder, &[FILE], FILES)?;
    let text = read(&path, Encoding::Utf8OrLatin1, FILES)?;
    let mut lines = numbered(&path, &text, &mut left_out).into_iter();
    let (_, header) = lines.next().ok_or_else(|| Error::file(&path, "empty"))?;
    if !header.split('\t').eq(HEADER) {
        let problem = format!(
            "expected the header `{}`, found `{header}`",
            HEADER.join("\t")
        );
        return Err(Error::line(&path, 1, problem));
    }
    let mut rows = Vec::new();
    for (line, text) in lines {
        let refuse = |problem: String| Error::line(&path, line, problem);
        let fields: Vec<&str> = text.split('\t').collect();
        let [_, score, text] = fields[..] else {
            return Err(refuse(format!(
                "expected 3 columns, found {}",
                fields.len()
            )));
        };
        let number = score
            .trim()
            .parse::<f64>()
            .ok()
            .filter(|score| score.is_finite());
        let Some(score) = number else {
            return Err(refuse(format!("expected a score, found `{score}`")));
        };
        match text.trim() {
            "" => left_out.note_empty(&path, line),
            text if problem == Problem::Regression => {
                rows.push(TextExample::labelled(text, Label::Number(score)));
            }
            _ if score.abs() < DECIDED => left_out.undecided += 1,
            text => rows.push(TextExample::new(text, usize::from(score > 0.0))),
        }
    }
    let labels = match problem {
        Problem::Regression => vec![HEADER[1].into()],
        _ => ["negative", "positive"].map(String::from).to_vec(),
    };
    arrange(Parts::pool(rows), Repeats::Drop, labels, left_out, options)
}
