//! What is predicted for a row.

use std::path::Path;

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;

use super::columns::Row;
use crate::error::Error;

/// What is predicted for a row.
///
/// ```
/// use finetune::predict::Prediction;
///
/// assert_ne!(Prediction::Number(0.5), Prediction::Classes(vec![0.5]));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Prediction {
    /// The probability of each class.
    Classes(Vec<f32>),
    /// The probability of each label, which are independent of each other.
    Labels(Vec<f32>),
    /// A number.
    Number(f32),
    /// Words with the place of the tag of each; none for words that were cut off.
    Tags {
        /// The words.
        words: Vec<String>,
        /// Their tags.
        tags: Vec<Option<usize>>,
    },
    /// A text.
    Answer(String),
}

/// Something that predicts.
pub(super) trait Predict: Send {
    /// The predictions of these rows, in their order.
    fn predict(&self, rows: &[Row]) -> Result<Vec<Prediction>, Error>;
}

/// A model that diverged gives no classes.
pub(super) fn refuse_nan(prediction: &Prediction, row: &Row, model: &Path) -> Result<(), Error> {
    let has_nan = match prediction {
        Prediction::Classes(values) | Prediction::Labels(values) => {
            values.iter().any(|value| value.is_nan())
        }
        Prediction::Number(number) => number.is_nan(),
        Prediction::Tags { .. } | Prediction::Answer(_) => false,
    };
    if has_nan {
        Err(diverged(row, model))
    } else {
        Ok(())
    }
}

pub(super) fn diverged(row: &Row, model: &Path) -> Error {
    let problem = format!(
        "the model computes NaN (for line {} of the rows): its training diverged",
        row.line
    );
    Error::read(model, problem)
}

/// The place of the largest value.
pub(super) fn largest(values: &[f32]) -> usize {
    let mut places = 0..values.len();
    let first = places.next().unwrap_or(0);
    places.fold(first, |best, place| {
        if values[place] > values[best] {
            place
        } else {
            best
        }
    })
}

/// The classes' probabilities in each row of logits `[M, C]`.
pub(super) fn probabilities(logits: Tensor<2>, classes: usize) -> Result<Vec<Prediction>, Error> {
    let [_, found] = logits.dims();
    if found != classes {
        let expected = format!("{found}, the classes of the model's head");
        return Err(Error::config("labels", classes, expected));
    }
    let values = softmax(logits, 1).into_data().convert::<f32>();
    let values = values.try_into_vec::<f32>().unwrap_or_default();
    let rows = values.chunks(classes.max(1));
    Ok(rows.map(|row| Prediction::Classes(row.to_vec())).collect())
}

/// An error about tokens with the line of its text.
pub(super) fn failed_at(rows: &[Row], path: &Path, error: crate::data::Error) -> Error {
    match error {
        crate::data::Error::Tokens { index, problem, .. } => {
            let line = rows.get(index).map_or(0, |row| row.line);
            crate::data::Error::line(path, line, problem).into()
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn the_first_of_equal_classes_is_taken() {
        assert_eq!(largest(&[0.2, 0.4, 0.4]), 1);
        assert_eq!(largest(&[1.0]), 0);
        let device = Device::flex();
        let logits = Tensor::<2>::from_data([[0.0, 0.0], [3.0f32.ln(), 0.0]], &device);
        let found = probabilities(logits.clone(), 2).unwrap();
        let Prediction::Classes(second) = &found[1] else {
            panic!("classes");
        };
        assert!((second[0] - 0.75).abs() < 1e-6);
        assert!(probabilities(logits, 3).is_err());
    }
}
