//! Labels of rows, and of batches of rows.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::error::Error;
use super::scale::NumberScale;

/// Where a token has no tag: no loss is taken there.
pub(crate) const NO_TAG: i64 = burn_ief::tokens::IGNORED;

/// What would be right for a row.
///
/// ```
/// use finetune::data::Label;
///
/// assert_eq!(Label::Class(3).class(), Some(3));
/// assert_eq!(Label::Number(4.5).class(), None);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Label {
    /// Index of the class.
    Class(usize),
    /// Whether each of the labels applies.
    Set(Vec<bool>),
    /// A number.
    Number(f64),
    /// The tag of each token, −100 where it has none.
    Tags(Vec<i64>),
}

impl Label {
    /// The class, if it is one.
    pub fn class(&self) -> Option<usize> {
        match self {
            Self::Class(class) => Some(*class),
            _ => None,
        }
    }

    /// Rows with the same one belong together where parts are to have all kinds of rows in their shares.
    pub(super) fn stratum(&self) -> usize {
        match self {
            Self::Class(class) => *class,
            // The first that applies; rows without any come last.
            Self::Set(set) => set.iter().position(|it| *it).unwrap_or(set.len()),
            Self::Number(_) | Self::Tags(_) => 0,
        }
    }
}

/// The labels of a batch of M rows.
///
/// ```
/// use burn::tensor::Device;
/// use finetune::data::{Label, LabelBatch, NumberScale};
///
/// let labels = [Label::Number(0.5), Label::Number(2.0)];
/// let batch = LabelBatch::of(labels.iter(), 0, NumberScale::default(), &Device::flex());
/// assert!(matches!(batch, LabelBatch::Numbers(numbers) if numbers.dims() == [2]));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum LabelBatch {
    /// Classes, `[M]`.
    Classes(Tensor<1, Int>),
    /// 1 for labels that apply and 0 for others, `[M, L]`.
    Sets(Tensor<2, Int>),
    /// Numbers in the scale in which they are learned, `[M]`.
    Numbers(Tensor<1>),
    /// Tags of the tokens, −100 where there is none, `[M, T]`.
    Tags(Tensor<2, Int>),
}

impl LabelBatch {
    /// Of rows with labels of one kind, the longest of which has `length` tokens; numbers in this scale.
    pub fn of<'l>(
        labels: impl Iterator<Item = &'l Label> + Clone,
        length: usize,
        scale: NumberScale,
        device: &Device,
    ) -> Self {
        let rows = labels.clone().count();
        let table = |values: Vec<i64>| {
            let width = values.len() / rows.max(1);
            Tensor::from_data(TensorData::new(values, [rows, width]), device)
        };
        match labels.clone().next() {
            Some(Label::Set(_)) => Self::Sets(table(
                labels
                    .flat_map(|label| match label {
                        Label::Set(set) => set.iter().map(|&applies| i64::from(applies)).collect(),
                        _ => Vec::new(),
                    })
                    .collect(),
            )),
            Some(Label::Number(_)) => {
                let number = |label: &Label| match label {
                    Label::Number(number) => scale.apply(*number),
                    _ => f64::NAN,
                };
                let numbers: Vec<f64> = labels.map(number).collect();
                Self::Numbers(Tensor::from_data(TensorData::new(numbers, [rows]), device))
            }
            Some(Label::Tags(_)) => Self::Tags(table(
                labels
                    .flat_map(|label| {
                        let mut tags = match label {
                            Label::Tags(tags) => tags.clone(),
                            _ => Vec::new(),
                        };
                        tags.resize(length, NO_TAG);
                        tags
                    })
                    .collect(),
            )),
            _ => Self::Classes(classes(
                labels.map(|label| label.class().unwrap_or_default()),
                device,
            )),
        }
    }

    /// The classes, if they are.
    pub fn classes(&self) -> Option<Tensor<1, Int>> {
        match self {
            Self::Classes(classes) => Some(classes.clone()),
            _ => None,
        }
    }
}

/// The scale of the numbers among labels.
pub(crate) fn number_scale<'l>(
    labels: impl Iterator<Item = &'l Label> + Clone,
) -> Result<NumberScale, Error> {
    NumberScale::of(labels.filter_map(|label| match label {
        Label::Number(number) => Some(*number),
        _ => None,
    }))
}

/// Classes as a tensor `[M]`.
pub(super) fn classes(labels: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let labels: Vec<i64> = labels.map(|label| label as i64).collect();
    let shape = [labels.len()];
    Tensor::from_data(TensorData::new(labels, shape), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_filled_up_and_sets_are_tables() {
        let device = Device::flex();
        let tags = [
            Label::Tags(vec![NO_TAG, 2]),
            Label::Tags(vec![NO_TAG, 0, 1]),
        ];
        let LabelBatch::Tags(tensor) =
            LabelBatch::of(tags.iter(), 3, NumberScale::default(), &device)
        else {
            panic!("tags");
        };
        let values: Vec<i64> = tensor.into_data().iter::<i64>().collect();
        assert_eq!(values, [NO_TAG, 2, NO_TAG, NO_TAG, 0, 1]);
        let sets = [Label::Set(vec![true, false]), Label::Set(vec![false, true])];
        let LabelBatch::Sets(tensor) =
            LabelBatch::of(sets.iter(), 3, NumberScale::default(), &device)
        else {
            panic!("sets");
        };
        assert_eq!(tensor.dims(), [2, 2]);
        assert_eq!(Label::Set(vec![false, false]).stratum(), 2);
    }
}
