//! Where data is and how it is split.

use std::path::PathBuf;

use programs::printing::{quoted_list, short};

use super::error::Error;

/// Where the files of a task are, and how they are split.
///
/// Files without parts of their own are split by shares, with one row at least for a share above 0;
/// published parts stay as they are, as [`Task`](super::Task) says. Splits keep the shares of the classes and depend on `seed` and on
/// the files alone.
///
/// ```
/// use finetune::data::DataSource;
///
/// let options = DataSource { test_rows: Some(300), ..DataSource::new("data/trec") };
/// assert_eq!((options.seed, options.valid_share, options.test_share), (0, 0.1, 0.1));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct DataSource {
    /// The folder, or for `csv` and `jsonl` the file.
    pub folder: PathBuf,
    /// Seed of the split.
    pub seed: u64,
    /// Take as many rows for training, in the shares of the classes; otherwise all that are left.
    pub train_rows: Option<usize>,
    /// Take as many rows for validation, instead of a share.
    pub valid_rows: Option<usize>,
    /// Take as many rows for the test, instead of a share.
    pub test_rows: Option<usize>,
    /// Share of the rows for validation where there is no file for it, 0 to 1.
    pub valid_share: f64,
    /// Share of the rows for the test where there is no file for it, 0 to 1.
    pub test_share: f64,
    /// Column of the text (`csv`, `jsonl`).
    pub text_column: String,
    /// Column of the second text of a pair (`csv`, `jsonl`).
    pub second_column: Option<String>,
    /// Column of the label (`csv`, `jsonl` and the like), or of a list of them or of tags.
    pub label_column: String,
    /// Columns of 0 and 1, one for each label (`multi-label`); the labels have their names.
    pub label_columns: Vec<String>,
    /// What is between labels in a text (`multi-label`).
    pub label_separator: String,
    /// Whether quotation marks quote fields (`csv`); otherwise they do so between commas and not between
    /// tabs.
    pub quotes: Option<bool>,
    /// The classes, labels or tags in their order (`csv`, `jsonl`, `multi-label`, `token-classification`, `images`); otherwise all labels of the training
    /// rows in alphabetical order. Classes that are numbers must be named here.
    pub labels: Option<Vec<String>>,
    /// Names of columns of conversations, `COLUMN=NAME` (`chat`, `instruct`, `completion`, `text`).
    pub columns: Vec<String>,
    /// Side to which the pictures of `images` are scaled, in pixels.
    pub image_size: usize,
}

impl DataSource {
    /// A tenth for validation, a tenth for the test, columns `text` and `label`, seed 0, pictures
    /// of 224 pixels.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            seed: 0,
            train_rows: None,
            valid_rows: None,
            test_rows: None,
            valid_share: 0.1,
            test_share: 0.1,
            text_column: "text".into(),
            second_column: None,
            label_column: "label".into(),
            label_columns: Vec::new(),
            label_separator: ",".into(),
            quotes: None,
            labels: None,
            columns: Vec::new(),
            image_size: 224,
        }
    }

    /// Check what can be checked without the files.
    ///
    /// # Errors
    ///
    /// [`Error::Option`].
    pub fn validate(&self) -> Result<(), Error> {
        for (option, share) in [
            ("valid_share", self.valid_share),
            ("test_share", self.test_share),
        ] {
            if !(0.0..1.0).contains(&share) {
                return Err(Error::option(option, "0 or more and less than 1", share));
            }
        }
        let shares = self.valid_share + self.test_share;
        if shares >= 1.0 {
            let expected = "less than 1 with `test_share`";
            return Err(Error::option("valid_share", expected, shares));
        }
        let labels = self.labels.as_deref().unwrap_or_default();
        if self.label_separator.trim().is_empty() {
            let expected = "a character that is no space";
            let found = format!("`{}`", self.label_separator);
            return Err(Error::option("label_separator", expected, found));
        }
        for (place, name) in self.label_columns.iter().enumerate() {
            if self.label_columns[..place].contains(name) {
                let expected = "each column once";
                let found = format!("`{}` twice", short(name));
                return Err(Error::option("label_columns", expected, found));
            }
        }
        if labels.len() == 1 {
            let expected = "the names of two or more classes";
            return Err(Error::option("labels", expected, quoted_list(labels)));
        }
        for (place, label) in labels.iter().enumerate() {
            if label.trim() != label || label.is_empty() || labels[..place].contains(label) {
                let expected = "names without spaces around them, each of them once";
                let found = format!("`{}`", short(label));
                return Err(Error::option("labels", expected, found));
            }
        }
        if self.train_rows == Some(0) {
            return Err(Error::option("train_rows", "at least 1", 0));
        }
        if !(1..=4096).contains(&self.image_size) {
            let expected = "1 to 4096 pixels";
            return Err(Error::option("image_size", expected, self.image_size));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_leave_nothing_are_refused_by_name() {
        let refused = |options: DataSource| match options.validate().unwrap_err() {
            Error::Option { option, .. } => option,
            other => panic!("{other}"),
        };
        let options = || DataSource::new("folder");
        assert!(options().validate().is_ok());
        assert_eq!(
            refused(DataSource {
                test_share: f64::NAN,
                ..options()
            }),
            "test_share"
        );
        assert_eq!(
            refused(DataSource {
                valid_share: 0.5,
                test_share: 0.5,
                ..options()
            }),
            "valid_share"
        );
        for labels in [&["a"][..], &["a", "b", "a"], &["a", ""], &["a", " b"]] {
            let labels = labels.iter().map(ToString::to_string).collect();
            let options = DataSource {
                labels: Some(labels),
                ..options()
            };
            assert_eq!(refused(options), "labels");
        }
        assert_eq!(
            refused(DataSource {
                train_rows: Some(0),
                ..options()
            }),
            "train_rows"
        );
        assert_eq!(
            refused(DataSource {
                image_size: 0,
                ..options()
            }),
            "image_size"
        );
    }
}
