//! What happened to samples that became tokens.

use std::fmt;

use super::encoded::EncodedSample;
use super::place::Place;
use super::tokenized::Tokenized;

/// What happened to samples that became tokens, for a note to the user.
///
/// ```
/// use finetune::conversation::EncodeSummary;
///
/// let mut summary = EncodeSummary::default();
/// (summary.samples, summary.tokens, summary.trained) = (3, 60, 20);
/// (summary.longest, summary.cut) = (30, 1);
/// assert_eq!(
///     summary.to_string(),
///     "3 samples, 60 tokens (20 trained), the longest with 30; 1 cut to the longest input"
/// );
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodeSummary {
    /// Samples that were given.
    pub samples: usize,
    /// Tokens of those that are kept.
    pub tokens: usize,
    /// Tokens that are trained.
    pub trained: usize,
    /// Tokens of the longest sample before it was cut.
    pub longest: usize,
    /// Samples that were longer than the longest input and lost their end.
    pub cut: usize,
    /// Samples that were left out, because nothing of their answer was left.
    pub lost: usize,
    /// Where the first of these is.
    pub first_lost: Option<String>,
    /// Samples with a token that holds the end of a prompt and the beginning of an answer.
    pub straddling: usize,
    /// Samples with an answer that does not end with a special token.
    pub unended: usize,
}

impl EncodeSummary {
    pub(super) fn add(&mut self, sample: &Tokenized) {
        self.longest = self.longest.max(sample.ids.len());
        self.cut += usize::from(sample.kept < sample.ids.len());
        self.straddling += usize::from(sample.straddles);
        self.unended += usize::from(!sample.ended);
    }

    pub(super) fn add_lost(&mut self, place: &Place) {
        self.lost += 1;
        self.first_lost.get_or_insert_with(|| place.to_string());
    }
}

impl fmt::Display for EncodeSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            samples,
            tokens,
            trained,
            longest,
            ..
        } = self;
        write!(
            f,
            "{samples} samples, {tokens} tokens ({trained} trained), the longest with {longest}"
        )?;
        let lost = match &self.first_lost {
            Some(place) => {
                format!("left out because nothing of the answer was left (the first: {place})")
            }
            None => "left out".into(),
        };
        for (count, what) in [
            (self.cut, "cut to the longest input"),
            (self.lost, lost.as_str()),
            (
                self.straddling,
                "with a token that joins prompt and answer, which is trained",
            ),
            (
                self.unended,
                "with an answer that no special token ends: the model does not learn where to stop",
            ),
        ] {
            if count > 0 {
                write!(f, "; {count} {what}")?;
            }
        }
        Ok(())
    }
}

/// Samples as tokens, and what happened to them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodedConversations {
    /// In the order of the samples, without those that lost their answer.
    pub items: Vec<EncodedSample>,
    /// For each item, which of the samples it is.
    pub sources: Vec<usize>,
    /// For a note to the user.
    pub summary: EncodeSummary,
}
