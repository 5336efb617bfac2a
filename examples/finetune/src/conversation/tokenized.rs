//! A sample as all its tokens, and how many of them fit.

use std::ops::Range;

use super::answers::Marked;
use super::encoded::{EncodedSample, NO_LABEL};

/// A sample as all its tokens, with what they came from.
pub(super) struct Tokenized {
    pub(super) marked: Marked,
    pub(super) ids: Vec<u32>,
    /// Bytes of the text; what is in front of it and behind it has none.
    pub(super) offsets: Vec<Range<usize>>,
    pub(super) trained: Vec<bool>,
    /// Tokens that are kept.
    pub(super) kept: usize,
    /// Whether a token holds the end of a prompt and the beginning of an answer.
    pub(super) straddles: bool,
    /// Whether each answer ends with a special token.
    pub(super) ended: bool,
}

impl Tokenized {
    /// How many of the tokens fit: up to the end of the last answer that does, if it is not the only one, or as many
    /// as end with a whole character.
    pub(super) fn cut(&self, most: usize, is_chat: bool) -> usize {
        if self.ids.len() <= most {
            return self.ids.len();
        }
        if is_chat {
            let end = |answer: &Range<usize>| {
                self.offsets
                    .iter()
                    .rposition(|place| overlap(answer, place))
            };
            let ends = self
                .marked
                .answers
                .iter()
                .filter_map(end)
                .map(|last| last + 1);
            if let Some(end) = ends.filter(|end| *end <= most).max() {
                return end;
            }
        }
        let mut kept = most;
        // The tokens of a character that is split have the same place.
        while kept > 0 && self.offsets[kept].start < self.offsets[kept - 1].end {
            kept -= 1;
        }
        kept
    }

    pub(super) fn encoded(&self) -> EncodedSample {
        let ids = self.ids[..self.kept].to_vec();
        let labels = ids.iter().zip(&self.trained);
        let labels = labels
            .map(|(&id, &trained)| if trained { id.into() } else { NO_LABEL })
            .collect();
        EncodedSample { ids, labels }
    }
}

/// Whether a token has a byte of an answer; one without bytes has its place.
pub(super) fn overlap(answer: &Range<usize>, place: &Range<usize>) -> bool {
    if place.is_empty() {
        answer.contains(&place.start)
    } else {
        place.start < answer.end && place.end > answer.start
    }
}
