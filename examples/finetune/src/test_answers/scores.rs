//! How many answers were right.

use serde::{Deserialize, Serialize};

/// What became of all answers.
///
/// ```
/// let scores = finetune::test_answers::AnswerScores { rows: 4, exact_match: 0.25 };
/// assert_eq!(scores.rows, 4);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AnswerScores {
    /// Test rows that were answered.
    pub rows: usize,
    /// Share of answers that [`exact_match`](super::exact_match) takes for right.
    pub exact_match: f64,
}
