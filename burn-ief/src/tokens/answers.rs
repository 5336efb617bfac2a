//! Which positions of a batch predict a label.

use burn::tensor::{Int, Tensor};

use crate::error::Error;
use crate::host::Reads;

/// The label of positions that are not part of the loss, as in Hugging Face's `transformers`.
pub const IGNORED: i64 = -100;

/// The positions of a batch whose next token has a label, sample after sample.
pub(super) struct Answers {
    /// M.
    pub samples: usize,
    /// T.
    pub positions: usize,
    /// Flat position `n T + t` of every answer.
    pub places: Vec<usize>,
    /// The sample of every answer.
    pub owners: Vec<usize>,
    /// The label of every answer.
    pub labels: Vec<i64>,
    /// Answers of every sample.
    pub counts: Vec<usize>,
}

impl Answers {
    /// Read labels `[M, T]`: position t predicts the label at t + 1, if that is not [`IGNORED`].
    pub fn read(labels: Tensor<2, Int>, classes: usize) -> Result<Self, Error> {
        let [samples, positions] = labels.dims();
        let mut reads = Reads::default();
        let place = reads.int(labels);
        let values = reads.execute()?.int(place);
        let mut answers = Self {
            samples,
            positions,
            places: Vec::new(),
            owners: Vec::new(),
            labels: Vec::new(),
            counts: vec![0; samples],
        };
        for (sample, line) in values.chunks(positions.max(1)).enumerate() {
            for (next, &label) in line.iter().enumerate() {
                if label == IGNORED {
                    continue;
                }
                if !(0..classes as i64).contains(&label) {
                    return Err(Error::IndexRange {
                        what: "a label (-100 is ignored)".into(),
                        size: classes,
                        found: label,
                    });
                }
                // Nothing predicts the first token.
                if let Some(position) = next.checked_sub(1) {
                    answers.places.push(sample * positions + position);
                    answers.owners.push(sample);
                    answers.labels.push(label);
                    answers.counts[sample] += 1;
                }
            }
        }
        if answers.labels.is_empty() {
            // The loss is 0, and stays on the graph of the hidden states: one position with the weight 0.
            answers.places.push(0);
            answers.owners.push(0);
            answers.labels.push(0);
        }
        Ok(answers)
    }

    /// Places to compute: N, or 1 without any answer.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// 1, or 0 without any answer.
    pub fn weight(&self) -> f64 {
        if self.counts.iter().any(|&count| count > 0) {
            1.0
        } else {
            0.0
        }
    }

    /// U, the most answers of a sample, at least 1.
    pub fn width(&self) -> usize {
        self.counts.iter().copied().max().unwrap_or(0).max(1)
    }

    /// For every sample and each of its U places the number of its answer; `None` for padding.
    pub fn padded(&self) -> Vec<Option<usize>> {
        let width = self.width();
        let mut first = 0;
        let mut padded = Vec::with_capacity(self.samples * width);
        for &count in &self.counts {
            padded.extend((0..width).map(|place| (place < count).then_some(first + place)));
            first += count;
        }
        padded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn a_position_predicts_the_next_label() {
        let labels = [
            [7, IGNORED, 3, 4],
            [IGNORED; 4],
            [IGNORED, 1, IGNORED, IGNORED],
        ];
        let labels = Tensor::<2, Int>::from_data(labels, &Device::flex());
        let answers = Answers::read(labels.clone(), 8).unwrap();
        assert_eq!(answers.places, [1, 2, 8]);
        assert_eq!(answers.owners, [0, 0, 2]);
        assert_eq!(answers.labels, [3, 4, 1]);
        assert_eq!(answers.counts, [2, 0, 1]);
        let padded = [Some(0), Some(1), None, None, Some(2), None];
        assert_eq!(answers.padded(), padded);
        // A label is checked even where nothing predicts it.
        let error = Answers::read(labels, 7).err();
        assert!(matches!(error, Some(Error::IndexRange { found: 7, .. })));
    }
}
