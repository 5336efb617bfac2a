//! The solve of a step, and what momentum in it adds.

use burn::module::Module;
use burn::optim::GradientsParams;

use super::method::{NaturalGradient, NaturalStep, Rule};
use super::previous::{Covered, PreviousUpdate};
use crate::error::Error;
use crate::jacobian::{Jacobian, RecordedBatch};
use crate::linalg::dot;
use crate::params::ParamInfo;
use crate::update::{self, Coefficients};

/// What a rule needs beside the Gram matrix.
enum Truth {
    Nothing,
    Norms(Vec<f64>),
    Matches(Vec<bool>),
}

impl NaturalGradient {
    /// The update of a recorded batch, not normalised.
    ///
    /// With a previous update, the gradients are what the solve adds to μΔ_prev, not scaled by the
    /// trust region: see [`advance`](Self::advance).
    pub(crate) fn solve(
        &self,
        recorded: RecordedBatch,
        previous: Option<&PreviousUpdate>,
    ) -> Result<NaturalStep, Error> {
        let truth = match self.rule {
            Rule::Ief { .. } => Truth::Norms(recorded.output_norms()?),
            Rule::Sf { .. } | Rule::Ngd { .. } => Truth::Matches(recorded.label_matches()?),
            Rule::Ef { .. } => Truth::Nothing,
        };
        let samples = recorded.samples();
        let (jacobian, rest) = recorded.into_all_rows();
        let jacobian = match truth {
            Truth::Matches(_) => jacobian,
            _ => jacobian.narrow(0, samples)?,
        };
        let jacobian = jacobian.with_precision(self.precision);
        let unused = jacobian.unused();
        let start = match previous {
            Some(previous) => Some(previous.start(&jacobian, self.solve_momentum)?),
            None => None,
        };
        let mut step = match truth {
            // No more parameters than drawn rows: solve for the parameters themselves.
            Truth::Matches(_) if jacobian.columns() <= jacobian.samples() - samples => {
                self.small(&jacobian, samples, start)?
            }
            truth => self.dual(jacobian, samples, &truth, start)?,
        };
        step.report.unused = unused;
        rest.register(&mut step.gradients);
        Ok(step)
    }

    fn dual(
        &self,
        jacobian: Jacobian,
        samples: usize,
        truth: &Truth,
        start: Option<Vec<f64>>,
    ) -> Result<NaturalStep, Error> {
        let gram = jacobian.gram()?;
        let epsilon = jacobian.gram_epsilon();
        let keep = start.is_some();
        let start = start.unwrap_or_else(|| vec![0.0; jacobian.samples()]);
        let mut update: Coefficients = match (&self.rule, truth) {
            (Rule::Ef { cosine_filter }, _) => {
                update::ef_from(&gram, &start, &self.damping, epsilon, *cosine_filter)?
            }
            (Rule::Ief { cosine_filter }, Truth::Norms(s)) => {
                update::ief_from(&gram, s, &start, &self.damping, epsilon, *cosine_filter)?
            }
            (_, Truth::Matches(matches)) => {
                update::sf_from(&gram, samples, matches, &start, &self.damping, epsilon)?
            }
            _ => return Err(Error::NoSampledLabels),
        };
        let solved = keep.then(|| update.values.clone());
        if let Some(radius) = self.trust_region {
            update.clip(radius);
        }
        Ok(NaturalStep {
            gradients: jacobian.into_t_matvec(&solved.unwrap_or(update.values))?,
            report: update.report,
            decrease: update.decrease,
        })
    }

    fn small(
        &self,
        jacobian: &Jacobian,
        samples: usize,
        start: Option<Vec<f64>>,
    ) -> Result<NaturalStep, Error> {
        let rows = jacobian.to_dense();
        let keep = start.is_some();
        let start = start.unwrap_or_else(|| vec![0.0; rows.len()]);
        let epsilon = jacobian.gram_epsilon();
        let (mut delta, mut report) =
            update::sf_small_from(&rows, samples, &start, &self.damping, epsilon)?;
        let image = rows.iter().zip(&start);
        let mut image: Vec<f64> = image.map(|(row, start)| start + dot(row, &delta)).collect();
        if let Some(radius) = self.trust_region {
            let curvature = image[samples..].iter().map(|x| x * x).sum();
            report.scale = update::clip_factor(curvature, radius);
            image.iter_mut().for_each(|x| *x *= report.scale);
            if !keep {
                delta.iter_mut().for_each(|x| *x *= report.scale);
            }
        }
        image.truncate(samples);
        Ok(NaturalStep {
            decrease: image,
            gradients: jacobian.unflatten(&delta)?,
            report,
        })
    }

    /// Turn what solves added to μΔ_prev into the update, and keep that.
    ///
    /// Shards that start from the same Δ_prev are reduced before: the start counts once.
    pub(crate) fn advance<M: Module>(
        &self,
        module: &M,
        previous: &mut PreviousUpdate,
        grads: &mut GradientsParams,
        scale: f64,
    ) -> Result<(), Error> {
        let covered = Covered::of(module, self.group()).into_iter();
        let params: Vec<ParamInfo> = covered.map(|covered| covered.param).collect();
        previous.advance(&params, grads, self.solve_momentum, scale)
    }
}
