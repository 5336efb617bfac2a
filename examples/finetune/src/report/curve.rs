//! Curves over epochs, averaged over the runs of a method.

use programs::optimizer::OptimizerName;
use programs::plot::{Color, Curve, loss_curve};
use programs::statistics::{deviation, mean};

use crate::history::History;

/// Points of a training curve in an epoch, at most.
const PER_EPOCH: usize = 4;
/// Points of a training curve, about.
const POINTS: usize = 120;

/// Mean over the runs of one method.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MeanCurve {
    /// What the picture calls it.
    pub title: String,
    pub method: OptimizerName,
    /// Epochs, the mean over the runs, and its standard deviation.
    pub points: Vec<[f64; 3]>,
}

impl MeanCurve {
    /// The training loss, in bins of a part of an epoch or of several.
    pub fn training(title: String, method: OptimizerName, runs: &[&History]) -> Option<Self> {
        let steps = runs.iter().map(|run| run.losses.len()).min()?;
        let per_epoch = runs.first()?.steps_per_epoch.max(1);
        let bin = (steps / POINTS).max(per_epoch / PER_EPOCH).max(1);
        let losses: Vec<&[f64]> = runs.iter().map(|run| &run.losses[..]).collect();
        Self::some(title, method, loss_curve(&losses, per_epoch, bin))
    }

    /// The first metric on the validation rows after each epoch.
    pub fn validation(title: String, method: OptimizerName, runs: &[&History]) -> Option<Self> {
        let epochs = runs.iter().map(|run| run.epochs.len()).min()?;
        let metric = runs.first()?.metrics.first()?;
        let rounds = runs.first()?.rounds();
        let after = |round: usize| {
            let steps = ((round + 1) * rounds.steps).min(rounds.total_steps);
            steps as f64 / rounds.steps_per_epoch as f64
        };
        let points = (0..epochs).map(|epoch| {
            let of = |run: &&History| run.epochs[epoch].valid.metrics.get(metric).copied();
            let values: Vec<f64> = runs.iter().filter_map(of).collect();
            [after(epoch), mean(&values), deviation(&values)]
        });
        Self::some(title, method, points.collect())
    }

    fn some(title: String, method: OptimizerName, points: Vec<[f64; 3]>) -> Option<Self> {
        let points: Vec<_> = points
            .into_iter()
            .filter(|point| point[1].is_finite())
            .collect();
        (!points.is_empty()).then_some(Self {
            title,
            method,
            points,
        })
    }
}

/// As a picture shows them: each method in its colour, and a second curve of a method in one that no
/// other has.
pub(super) fn drawn(curves: &[MeanCurve]) -> Vec<Curve> {
    let own: Vec<Color> = curves.iter().map(|curve| curve.method.color()).collect();
    let all = OptimizerName::all().iter().rev();
    let mut spare: Vec<Color> = all.map(|optimizer| optimizer.color()).collect();
    spare.retain(|color| !own.contains(color));
    let mut taken = Vec::new();
    let curves = curves.iter().zip(&own).map(|(curve, own)| {
        let color = if taken.contains(own) {
            spare.pop().unwrap_or(*own)
        } else {
            *own
        };
        taken.push(color);
        Curve {
            name: curve.title.clone(),
            color,
            points: curve.points.iter().map(|&[x, y, _]| [x, y]).collect(),
        }
    });
    curves.collect()
}

/// The numbers behind a picture.
pub(super) fn csv(curves: &[MeanCurve]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["method", "curve", "epochs", "mean", "deviation"])?;
    for curve in curves {
        for numbers in &curve.points {
            let name = [curve.method.name().to_string(), curve.title.clone()];
            writer.write_record(name.into_iter().chain(numbers.map(|x| x.to_string())))?;
        }
    }
    writer
        .into_inner()
        .map_err(|error| error.into_error().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::tests::history;
    use programs::optimizer::optimizer;

    #[test]
    fn curves_are_means_over_runs() {
        let one = history(OptimizerName::SGD, 1, &[(0.5, 1.0), (0.75, 0.5)]);
        let mut two = history(
            OptimizerName::SGD,
            2,
            &[(0.25, 1.0), (0.75, 0.5), (1.0, 0.1)],
        );
        two.losses.iter_mut().for_each(|loss| *loss += 2.0);
        let valid = MeanCurve::validation("SGD".into(), OptimizerName::SGD, &[&one, &two]).unwrap();
        assert_eq!(valid.points[0][..2], [1.0, 0.375]);
        assert_eq!(valid.points[1], [2.0, 0.75, 0.0]);
        assert_eq!(valid.points.len(), 2);
        // Two steps an epoch: a point for each.
        let training =
            MeanCurve::training("SGD".into(), OptimizerName::SGD, &[&one, &two]).unwrap();
        assert_eq!(training.points.len(), 4);
        assert_eq!(training.points[0][..2], [0.25, 3.0]);
        let text = String::from_utf8(csv(&[training]).unwrap()).unwrap();
        assert!(
            text.starts_with("method,curve,epochs,mean,deviation\nsgd,SGD,0.25,3,"),
            "{text}"
        );
    }

    #[test]
    fn nothing_makes_no_curve() {
        let title = || String::from("iEF");
        assert_eq!(MeanCurve::training(title(), optimizer("ief"), &[]), None);
        let empty = history(optimizer("ief"), 1, &[]);
        let validation = MeanCurve::validation(title(), optimizer("ief"), &[&empty]);
        assert_eq!(validation, None);
        assert_eq!(
            MeanCurve::training(title(), optimizer("ief"), &[&empty]),
            None
        );
    }

    #[test]
    fn curves_of_one_method_have_colours_of_their_own() {
        let curve = |method: OptimizerName| MeanCurve {
            title: method.title().into(),
            method,
            points: vec![[1.0, 0.5, 0.0]],
        };
        let curves = [
            optimizer("ief"),
            optimizer("ief"),
            optimizer("ief"),
            OptimizerName::ADAMW,
        ]
        .map(curve);
        let drawn = drawn(&curves);
        assert_eq!(drawn[0].color, Color::Green);
        for (k, one) in drawn.iter().enumerate() {
            assert!(drawn[..k].iter().all(|other| other.color != one.color));
        }
    }
}
