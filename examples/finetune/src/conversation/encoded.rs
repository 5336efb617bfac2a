//! Samples as tokens with labels.

/// No loss is taken where a label is this.
pub const NO_LABEL: i64 = burn_ief::tokens::IGNORED;

/// A sample as tokens.
///
/// ```
/// use finetune::conversation::{EncodedSample, NO_LABEL};
///
/// let sample = EncodedSample { ids: vec![5, 6, 7], labels: vec![NO_LABEL, 6, 7] };
/// assert_eq!((sample.length(), sample.trained()), (3, 2));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedSample {
    /// The tokens.
    pub ids: Vec<u32>,
    /// As Hugging Face's: the token itself where it is trained, otherwise −100. A model predicts the label at t from
    /// the tokens before t.
    pub labels: Vec<i64>,
}

impl EncodedSample {
    /// Number of tokens.
    pub fn length(&self) -> usize {
        self.ids.len()
    }

    /// Places t whose label is predicted: those that are trained, without the first, which nothing predicts.
    pub fn targets(&self) -> impl Iterator<Item = usize> {
        let labels = self.labels.iter().enumerate().skip(1);
        labels
            .filter(|(_, label)| **label != NO_LABEL)
            .map(|(place, _)| place)
    }

    /// Number of tokens that are trained.
    pub fn trained(&self) -> usize {
        self.targets().count()
    }
}
