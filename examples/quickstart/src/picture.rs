//! Training curves as an SVG.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use programs::WriteError;
use programs::files;
use programs::plot::{Chart, Curve, loss_curve};

use crate::error::Error;
use crate::experiment::Run;
use crate::fit::BATCH;
use crate::tuned::Tuned;

/// Points of a curve in an epoch.
const PER_EPOCH: usize = 2;

/// Draw the training loss of every method over the epochs as `quickstart.svg` in `directory`.
///
/// # Errors
///
/// [`Error::Write`].
pub fn draw(directory: &Path, runs: &[Run], epochs: usize) -> Result<PathBuf, Error> {
    files::make_folder(directory)?;
    let path = directory.join("quickstart.svg");
    let seeds: BTreeSet<u64> = runs.iter().map(|run| run.seed).collect();
    let note = match seeds.len() {
        1 => "one seed".to_string(),
        n => format!("mean of {n} seeds"),
    };
    let chart = Chart {
        title: format!("LoRA fine-tuning of a small ViT on UCI digits ({note}, batch {BATCH})"),
        axis: "training loss".into(),
        logarithmic: true,
    };
    let text = chart.svg(&means(runs, epochs));
    let text = text.map_err(|error| WriteError::new(&path, error))?;
    files::write(&path, text)?;
    Ok(path)
}

/// The training loss of every method, averaged over its runs.
fn means(runs: &[Run], epochs: usize) -> Vec<Curve> {
    let mut curves = Vec::new();
    for Tuned { method, .. } in Tuned::all() {
        let losses: Vec<&[f64]> = runs
            .iter()
            .filter(|run| run.method == method)
            .map(|run| &run.history.losses[..])
            .collect();
        let steps = losses.iter().map(|losses| losses.len()).min().unwrap_or(0);
        let per_epoch = steps / epochs.max(1);
        let points = loss_curve(&losses, per_epoch, per_epoch / PER_EPOCH);
        if !points.is_empty() {
            curves.push(Curve {
                name: method.title().into(),
                color: method.color(),
                points: points.iter().map(|&[x, y, _]| [x, y]).collect(),
            });
        }
    }
    curves
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::History;
    use programs::optimizer::OptimizerName;

    fn run(method: OptimizerName, seed: u64, losses: Vec<f64>) -> Run {
        let history = History {
            losses,
            ..History::default()
        };
        Run {
            method,
            seed,
            final_train_loss: 0.0,
            history,
        }
    }

    #[test]
    fn curves_are_means_over_runs_and_bins() {
        let runs = [
            run(OptimizerName::SGD, 1, (0..8).map(f64::from).collect()),
            run(
                OptimizerName::SGD,
                2,
                (0..8).map(|i| f64::from(i) + 2.0).collect(),
            ),
        ];
        let curves = means(&runs, 1);
        // The other methods have no runs.
        assert_eq!(curves.len(), 1);
        assert_eq!(curves[0].points, [[0.25, 2.5], [0.75, 6.5]]);
    }

    #[test]
    fn the_picture_names_every_curve() {
        let directory = std::env::temp_dir().join(format!("quickstart-{}", std::process::id()));
        let runs = Tuned::all().map(|tuned| run(tuned.method, 1, vec![2.0, 1.0, 0.5, 0.25]));
        let path = draw(&directory, &runs, 1).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        for Tuned { method, .. } in Tuned::all() {
            assert!(svg.contains(method.title()), "{method:?}");
        }
        assert_eq!(
            svg.matches("stroke-width=\"3\"").count(),
            Tuned::all().len()
        );
    }
}
