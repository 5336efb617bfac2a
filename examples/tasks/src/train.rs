//! One run.

use std::path::Path;
use std::time::Instant;

use burn::tensor::{Device, Tensor};
use burn_ief::mark_mean_loss;
use programs::statistics::mean;

use crate::data::{Batches, Rows};
use crate::definition::Definition;
use crate::error::Error;
use crate::optimizers::{self, Model};
use crate::parameters::trained;
use crate::record::{Divergence, Machine, Record, Run};
use crate::task::{Evaluation, Task, evaluate, losses};

/// Points of a curve.
const POINTS: usize = 20;

/// Train a model and measure it.
///
/// A run whose loss does not stay finite is a result, not an error.
///
/// # Errors
///
/// [`Error::Data`] about data and pretrained models, [`Error::Settings`] about the optimizer, and
/// [`Error::Stopped`] if a step is refused for a reason that is no divergence.
pub fn train<T: Task>(run: &Run, folder: &Path) -> Result<Record, Error> {
    let started = Instant::now();
    let machine = Machine::here();
    let definition = &T::DEFINITION;
    let contender = optimizers::named(&run.optimizer)?;
    let stopped = |problem: String| Error::Stopped {
        run: run.describe(),
        problem,
    };
    let split = T::rows(folder)?;
    let device = Device::flex().autodiff();
    device.seed(run.seed);
    let model = T::model(folder, &device)?;
    let parameters = trained(&model);
    let recipe = (contender.build)(
        &run.options,
        &Model {
            parameters: &parameters,
            definition,
            seed: run.seed,
        },
    )?;
    let stepper = recipe.init(&model);
    let mut stepper = stepper.map_err(|error| Error::settings(contender.name, error))?;

    let mut history = Vec::with_capacity(definition.steps);
    let mut diverged = None;
    // Nothing, after a step that failed.
    let mut model = Some(model);
    let batches = Batches::new(split.train.count(), definition.batch, run.seed);
    let begun = Instant::now();
    for (step, places) in batches.take(definition.steps).enumerate() {
        let parts = even(&places, stepper.parts());
        let step_size = run.step_size * run.schedule.factor(step, definition.steps);
        let mut loss = 0.0;
        let Some(before) = model.take() else {
            break;
        };
        let stepped = stepper.step(step_size, before, |model, part| {
            let (inputs, targets) = split.train.batch(parts[part], &device);
            let mean = mark_mean_loss(losses(T::outputs(model, inputs), &targets));
            loss += value(&mean) * (parts[part].len() as f64 / places.len() as f64);
            mean
        });
        if !loss.is_finite() {
            diverged = Some(divergence(step, "the loss is not finite"));
            continue;
        }
        history.push(loss);
        match stepped {
            Ok(stepped) => model = Some(stepped),
            Err(error) if is_divergence(&error) => diverged = Some(divergence(step, error)),
            Err(error) => return Err(stopped(error.to_string())),
        }
    }
    let synced = device.sync();
    synced.map_err(|error| stopped(format!("{error:?}")))?;
    let seconds = begun.elapsed().as_secs_f64();

    let mut record = Record {
        run: run.clone(),
        half: definition.half,
        extended: false,
        steps: definition.steps,
        batch: definition.batch,
        final_train_loss: None,
        measured_train_loss: None,
        test_loss: None,
        score: definition.score,
        test_score: None,
        curve: curve(&history, definition.steps),
        diverged,
        seconds,
        total_seconds: 0.0,
        machine,
    };
    if let Some(model) = model {
        let measured = evaluate::<T>(&model, &split.train, definition.measured_rows, &device);
        let test = evaluate::<T>(&model, &split.test, split.test.count(), &device);
        finish(&mut record, &history, definition, measured, test);
    }
    record.total_seconds = started.elapsed().as_secs_f64();
    Ok(record)
}

/// The batch in parts whose sizes differ by one at most.
fn even(places: &[usize], parts: usize) -> Vec<&[usize]> {
    let at = |part: usize| places.len() * part / parts;
    (0..parts)
        .map(|part| &places[at(part)..at(part + 1)])
        .collect()
}

fn value(loss: &Tensor<1>) -> f64 {
    loss.to_data().iter::<f64>().next().unwrap_or(f64::NAN)
}

fn divergence(step: usize, reason: impl ToString) -> Divergence {
    Divergence {
        step,
        reason: reason.to_string(),
    }
}

/// Whether a smaller step size might have kept the numbers finite.
fn is_divergence(error: &burn_ief::Error) -> bool {
    use burn_ief::Error as E;
    matches!(
        error,
        E::NonFinite { .. } | E::NonFiniteUpdate | E::Eigen { .. }
    )
}

/// Put the results of a run to its end into its record; losses that are not finite make it one that diverged.
fn finish(
    record: &mut Record,
    history: &[f64],
    definition: &Definition,
    measured: Evaluation,
    test: Evaluation,
) {
    let numbers = [measured.loss, test.loss, test.score];
    if numbers.iter().any(|number| !number.is_finite()) {
        let reason = "the loss after the run is not finite";
        record.diverged = Some(divergence(definition.steps, reason));
        return;
    }
    let last = (definition.steps / 10).max(1);
    record.final_train_loss = Some(mean(&history[history.len() - last..]));
    record.measured_train_loss = Some(measured.loss);
    record.test_loss = Some(test.loss);
    record.test_score = Some(test.score);
}

/// Means of the twentieths of all steps, of those that are complete.
fn curve(history: &[f64], steps: usize) -> Vec<f64> {
    let start = |point: usize| point * steps / POINTS;
    let complete = (0..POINTS).filter(|&point| start(point + 1) <= history.len());
    complete
        .filter(|&point| start(point) < start(point + 1))
        .map(|point| mean(&history[start(point)..start(point + 1)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;

    #[test]
    fn curves_have_twenty_points_or_those_that_were_reached() {
        let history: Vec<f64> = (0..40).map(f64::from).collect();
        let whole = curve(&history, 40);
        assert_eq!((whole.len(), whole[0], whole[19]), (20, 0.5, 38.5));
        assert_eq!(curve(&history[..7], 40), [0.5, 2.5, 4.5]);
        assert_eq!(curve(&[], 40), [0.0; 0]);
        assert_eq!(curve(&history[..25], 25).len(), 20);
    }

    #[test]
    fn the_final_loss_is_that_of_the_last_tenth() {
        let definition = crate::tasks::named("diamonds").unwrap().definition;
        let history: Vec<f64> = (0..definition.steps).map(|step| step as f64).collect();
        let good = Evaluation {
            loss: 0.25,
            score: 0.5,
        };
        let mut record = record("diamonds", "ief", 1.0, 2);
        finish(&mut record, &history, definition, good, good);
        let tenth = definition.steps / 10;
        let expected = (definition.steps - 1) as f64 - (tenth - 1) as f64 / 2.0;
        assert_eq!(record.final_train_loss, Some(expected));
        assert!(record.diverged.is_none());
        let bad = Evaluation {
            loss: f64::INFINITY,
            ..good
        };
        finish(&mut record, &history, definition, good, bad);
        assert!(record.diverged.is_some());
    }
}
