//! TREC: questions by the kind of answer, as `COARSE:fine the question`.

use std::path::Path;

use super::error::Error;
use super::lines::{Encoding, locate, numbered, read};
use super::split::{Parts, Repeats, arrange};
use super::{DataSource, LeftOut, Splits, TextExample};

pub(super) const FILES: &str = "a folder with `question_labels.txt`, or with `train_5500.label` \
                                and `TREC_10.label`";
const POOL: &str = "question_labels.txt";
const TRAIN: &str = "train_5500.label";
const TEST: &str = "TREC_10.label";

/// Li and Roth's classes.
const CLASSES: [(&str, &[&str]); 6] = [
    ("ABBR", &["abb", "exp"]),
    ("DESC", &["def", "desc", "manner", "reason"]),
    (
        "ENTY",
        &[
            "animal",
            "body",
            "color",
            "cremat",
            "currency",
            "dismed",
            "event",
            "food",
            "instru",
            "lang",
            "letter",
            "other",
            "plant",
            "product",
            "religion",
            "sport",
            "substance",
            "symbol",
            "techmeth",
            "termeq",
            "veh",
            "word",
        ],
    ),
    ("HUM", &["desc", "gr", "ind", "title"]),
    ("LOC", &["city", "country", "mount", "other", "state"]),
    (
        "NUM",
        &[
            "code", "count", "date", "dist", "money", "ord", "other", "perc", "period", "speed",
            "temp", "volsize", "weight",
        ],
    ),
];

/// Which of the two labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Classes {
    Coarse,
    Fine,
}

impl Classes {
    fn names(self) -> Vec<String> {
        let names = CLASSES.iter().flat_map(|(coarse, fine)| match self {
            Self::Coarse => vec![coarse.to_string()],
            Self::Fine => fine.iter().map(|fine| format!("{coarse}:{fine}")).collect(),
        });
        names.collect()
    }
}

pub(super) fn load(classes: Classes, options: &DataSource) -> Result<Splits<TextExample>, Error> {
    let labels = classes.names();
    let mut left_out = LeftOut::default();
    let folder = &options.folder;
    let path = locate(folder, &[POOL, TRAIN], FILES)?;
    let train = rows(&path, classes, &labels, &mut left_out)?;
    let test = if path.ends_with(TRAIN) && folder.is_dir() {
        let path = locate(folder, &[TEST], FILES)?;
        Some(rows(&path, classes, &labels, &mut left_out)?)
    } else {
        None
    };
    let parts = Parts {
        test,
        ..Parts::pool(train)
    };
    arrange(parts, Repeats::Drop, labels, left_out, options)
}

fn rows(
    path: &Path,
    classes: Classes,
    labels: &[String],
    left_out: &mut LeftOut,
) -> Result<Vec<TextExample>, Error> {
    let text = read(path, Encoding::Utf8OrLatin1, FILES)?;
    let lines = numbered(path, &text, left_out);
    let mut rows = Vec::with_capacity(lines.len());
    for (line, text) in lines {
        let (label, question) = text.split_once(' ').unwrap_or((text, ""));
        let name = match classes {
            Classes::Coarse => label.split_once(':').map(|(coarse, _)| coarse),
            Classes::Fine => Some(label),
        };
        let class = name.and_then(|name| labels.iter().position(|known| known == name));
        let Some(class) = class else {
            let example = match classes {
                Classes::Coarse => format!("one of {}", labels.join(", ")),
                Classes::Fine => "one of TREC's 50, such as LOC:city".into(),
            };
            let problem = format!("unknown label `{label}`, expected `COARSE:fine`, {example}");
            return Err(Error::line(path, line, problem));
        };
        match question.trim() {
            "" => left_out.note_empty(path, line),
            question => rows.push(TextExample::new(question, class)),
        }
    }
    Ok(rows)
}
