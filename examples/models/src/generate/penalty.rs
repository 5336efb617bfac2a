//! Penalties on tokens that a row has already.

use std::collections::BTreeMap;

use super::sampling::Sampling;

/// The tokens of a row: how often each was newly chosen, 0 for those of the prompt alone.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    counts: BTreeMap<usize, u32>,
}

impl Seen {
    /// Tokens of the prompt.
    pub(super) fn read(&mut self, prompt: &[i64]) {
        for &id in prompt {
            self.count(id, 0);
        }
    }

    /// A new token.
    pub(super) fn add(&mut self, id: i64) {
        self.count(id, 1);
    }

    fn count(&mut self, id: i64, times: u32) {
        if let Ok(id) = usize::try_from(id) {
            *self.counts.entry(id).or_default() += times;
        }
    }

    /// Apply the penalties of `sampling`. That on repetition is the one of `transformers`, which counts the prompt;
    /// the others are those of OpenAI's interface and count new tokens alone.
    pub(super) fn penalize(&self, logits: &mut [f64], sampling: &Sampling) {
        let factor = sampling.repetition_penalty.unwrap_or(1.0);
        let presence = sampling.presence_penalty.unwrap_or(0.0);
        let frequency = sampling.frequency_penalty.unwrap_or(0.0);
        if factor == 1.0 && presence == 0.0 && frequency == 0.0 {
            return;
        }
        for (&id, &count) in &self.counts {
            let Some(logit) = logits.get_mut(id) else {
                continue;
            };
            if *logit < 0.0 {
                *logit *= factor;
            } else {
                *logit /= factor;
            }
            if count > 0 {
                *logit -= presence + frequency * f64::from(count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_lowers_positive_and_negative_logits() {
        let mut seen = Seen::default();
        seen.read(&[0, 1, 1, -100, 9]);
        let mut logits = [-2.0, 1.5, 1.0];
        let sampling = Sampling::new(1).with_repetition_penalty(Some(1.5));
        seen.penalize(&mut logits, &sampling);
        assert_eq!(logits, [-3.0, 1.0, 1.0]);
    }

    #[test]
    fn presence_and_frequency_count_new_tokens() {
        let mut seen = Seen::default();
        seen.read(&[0]);
        [1, 2, 2].into_iter().for_each(|id| seen.add(id));
        let mut logits = [1.0, 1.0, 1.0, f64::NEG_INFINITY];
        let sampling = Sampling::new(1)
            .with_presence_penalty(Some(0.5))
            .with_frequency_penalty(Some(0.25));
        seen.penalize(&mut logits, &sampling);
        assert_eq!(logits, [1.0, 0.25, 0.0, f64::NEG_INFINITY]);
    }
}
