//! The K-FAC family next to iEF, over stages and against the damping.

use std::path::{Path, PathBuf};

use burn_ief::eval::{Survey, SweepRule};
use burn_ief::methods::AnyConfig;
use burn_ief::methods::kfac::FactorDamping;
use burn_ief::solve::{DampedMatrix, DampingAmount};
use finetune::model::Judged;
use programs::plot::Axis;

use super::Stage;
use super::judge::Judge;
use super::picture::{Curve, Plot, at_damping, look, ratio, ratios, side_by_side};
use super::stages::over_stages;
use crate::error::Error;
use crate::table;

/// The damping of the comparison over the stages.
const DAMPING: f64 = 1e-3;
const DAMPINGS: [f64; 9] = [1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e3];
const FAMILY: [&str; 3] = ["ekfac", "kfac", "iekfac"];

/// Draw γ over γ of SGD of KFAC, eKFAC, ieKFAC and iEF as `<name>_kfac.svg` in `folder`, over all
/// stages and, at the last, against λ; the numbers are in `<name>_kfac.csv` and
/// `<name>_kfac_sweep.csv`.
///
/// # Errors
///
/// [`Error::Method`], [`Error::Write`].
pub fn kfac<M: Judged>(
    folder: &Path,
    name: &str,
    stages: &[Stage<M>],
    batches: &[M::Batch],
) -> Result<PathBuf, Error> {
    let mut over = [Survey::new()];
    for stage in stages {
        judge(stage, batches, &[DAMPING], &mut over)?;
    }
    let [over] = over;
    table::write(folder, &format!("{name}_kfac.csv"), &lines(&over, DAMPING))?;

    let mut surveys = DAMPINGS.map(|_| Survey::new());
    if let Some(last) = stages.last() {
        judge(last, batches, &DAMPINGS, &mut surveys)?;
    }
    let against = surveys.iter().zip(DAMPINGS);
    let rows: Vec<_> = against
        .clone()
        .flat_map(|(survey, damping)| lines(survey, damping))
        .collect();
    table::write(folder, &format!("{name}_kfac_sweep.csv"), &rows)?;

    let exact = over_stages(&over, stages, &["ief_fisher"], Some(DAMPING));
    let mut curves = over_stages(&over, stages, &FAMILY, None);
    curves.extend(exact);
    let epochs = stages.last().map_or(1, |stage| stage.epoch);
    let stage = epochs.to_string();
    let swept: Vec<Curve> = FAMILY
        .into_iter()
        .chain(["ief_fisher"])
        .map(|direction| {
            let points = against.clone().filter_map(|(survey, damping)| {
                let own = (direction == "ief_fisher").then_some(damping);
                let (mean, error) = ratio(survey, &stage, direction, own)?;
                Some((damping, mean, error))
            });
            (look(direction), points.collect())
        })
        .collect();
    let y = ratios(curves.iter().chain(&swept));
    let plots = [
        Plot {
            caption: at_damping(DAMPING),
            x: Axis::linear("epoch", 0.0..epochs.max(1) as f64).with_labels(8),
            y: y.clone(),
            curves,
            one: true,
        },
        Plot {
            caption: format!("epoch {epochs}"),
            x: Axis::log("relative λ", 1e-12..1e3),
            y,
            curves: swept,
            one: true,
        },
    ];
    let names = FAMILY.into_iter().chain(["ief_fisher", "sgd"]);
    let looks: Vec<_> = names.map(look).collect();
    side_by_side(folder, &format!("{name}_kfac.svg"), &looks, &plots)
}

/// Every member and iEF on all batches, a survey for each damping.
fn judge<M: Judged>(
    stage: &Stage<M>,
    batches: &[M::Batch],
    dampings: &[f64],
    surveys: &mut [Survey],
) -> Result<(), Error> {
    for (seed, batch) in batches.iter().enumerate() {
        let judge = Judge::new(stage, batch, seed as u64)?;
        for (survey, &damping) in surveys.iter_mut().zip(dampings) {
            for direction in FAMILY {
                let config = member(direction, damping, seed as u64)?;
                judge.push_kfac(survey, direction, &config)?;
            }
            let exact = [SweepRule::ief(DampedMatrix::Fisher)];
            judge.push(survey, &exact, &[DampingAmount::Relative(damping)])?;
        }
    }
    Ok(())
}

/// Factors of the batch alone, as for the exact methods.
fn member(name: &str, damping: f64, seed: u64) -> Result<AnyConfig, Error> {
    let mut config: AnyConfig = name.parse().map_err(Error::method("the K-FAC family"))?;
    if let AnyConfig::Kfac(kfac) = &mut config {
        kfac.seed = seed;
    }
    if let Some(factors) = config.factors_mut() {
        factors.damping = FactorDamping::relative(damping);
        factors.decay = 0.0;
        factors.kl_clip = Some(0.0);
    }
    Ok(config)
}

fn lines(survey: &Survey, damping: f64) -> Vec<table::SurveyLine> {
    let lines = table::lines(survey).into_iter();
    lines.map(|line| line.with_damping(damping)).collect()
}
