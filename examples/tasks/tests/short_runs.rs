//! Every optimizer takes steps on tasks whose data are in the repository.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use tasks::data::{Arrays, Rows, Split, Targets};
use tasks::optimizers::{self, Budget, Contender};
use tasks::select::grid;
use tasks::task::Task;
use tasks::tasks::{Diamonds, DigitsLora, DigitsVit};
use tasks::train::train;
use tasks::{Definition, Error, Record, Run, Trained};

/// The first rows of a task.
struct Few(Arrays);

const FEW: usize = 64;

impl Rows for Few {
    type Inputs = Tensor<2>;

    fn count(&self) -> usize {
        self.0.count().min(FEW)
    }

    fn batch(&self, places: &[usize], device: &Device) -> (Tensor<2>, Targets) {
        self.0.batch(places, device)
    }
}

/// A task with few steps and rows.
struct Short<T, const STEPS: usize>(T);

impl<T: Task<Rows = Arrays>, const STEPS: usize> Task for Short<T, STEPS> {
    type Rows = Few;
    type Model = T::Model;

    const DEFINITION: Definition = Definition {
        steps: STEPS,
        ..T::DEFINITION
    };

    fn rows(folder: &Path) -> Result<Split<Few>, Error> {
        let Split { train, test } = T::rows(folder)?;
        Ok(Split {
            train: Few(train),
            test: Few(test),
        })
    }

    fn model(folder: &Path, device: &Device) -> Result<T::Model, Error> {
        T::model(folder, device)
    }

    fn outputs(model: &T::Model, inputs: Tensor<2>) -> Tensor<2> {
        T::outputs(model, inputs)
    }
}

fn run(definition: &Definition, contender: &Contender, seed: u64) -> Run {
    let grid = grid(&contender.budget, definition.trained);
    let setting = grid[grid.len() / 2];
    Run {
        task: definition.name.into(),
        version: definition.version,
        optimizer: contender.name.into(),
        options: contender.options(definition),
        step_size: setting.step_size,
        schedule: setting.schedule,
        seed,
    }
}

fn short<T: Task<Rows = Arrays>, const STEPS: usize>(name: &str, seed: u64) -> Record {
    let contender = optimizers::named(name).unwrap();
    let run = run(&T::DEFINITION, &contender, seed);
    train::<Short<T, STEPS>>(&run, Path::new("")).unwrap()
}

/// The loss of a new model, by a run whose steps have no size.
fn before<T: Task<Rows = Arrays>>() -> f64 {
    let contender = optimizers::named("adamw").unwrap();
    let run = Run {
        step_size: 0.0,
        ..run(&T::DEFINITION, &contender, 3)
    };
    let record = train::<Short<T, 1>>(&run, Path::new("")).unwrap();
    record.measured_train_loss.unwrap()
}

fn every_optimizer_descends<T: Task<Rows = Arrays>>() {
    let before = before::<T>();
    let mut after = Vec::new();
    for contender in optimizers::all() {
        let candidate = contender.half.is_some();
        if candidate || !(contender.applies)(&T::DEFINITION) {
            continue;
        }
        let record = short::<T, 12>(contender.name, 3);
        assert_eq!(record.diverged, None, "{}", contender.name);
        let loss = record.measured_train_loss.unwrap();
        assert!(loss < before, "{}: {before} to {loss}", contender.name);
        assert!(
            !after.contains(&loss),
            "{} is another optimizer",
            contender.name
        );
        if contender.name != "ief-tuned" {
            after.push(loss);
        }
    }
    assert!(after.len() >= 9, "{after:?}");
}

#[test]
fn digits_with_lora_are_learned_by_every_optimizer() {
    every_optimizer_descends::<DigitsLora>();
}

#[test]
fn digits_from_scratch_are_learned_by_every_optimizer() {
    every_optimizer_descends::<DigitsVit>();
}

#[test]
fn prices_are_learned_by_every_optimizer() {
    every_optimizer_descends::<Diamonds>();
}

#[test]
fn candidates_run_and_a_run_repeats_itself() {
    for contender in optimizers::all() {
        if contender.half.is_some() {
            let record = short::<DigitsVit, 4>(contender.name, 2);
            assert!(record.final_train_loss.is_some(), "{}", contender.name);
        }
    }
    let again = |seed| {
        let record = short::<DigitsLora, 5>("ief", seed);
        (record.final_train_loss, record.test_loss, record.curve)
    };
    assert_eq!(again(4), again(4));
    assert_ne!(again(4), again(5));
}

/// A batch in parts makes the joint step of the whole batch; means and sums of separate updates are other steps.
#[test]
fn parts_make_the_step_of_the_whole_batch_if_they_are_joined() {
    let loss = |name: &str| {
        let record = short::<DigitsLora, 4>(name, 3);
        record.measured_train_loss.unwrap()
    };
    let whole = loss("ief-joint-1");
    for parts in [2, 4, 8] {
        let distance = |way: &str| (loss(&format!("ief-{way}-{parts}")) / whole - 1.0).abs();
        // In f32: the solve amplifies rounding.
        assert!(distance("joint") < 1e-3, "{parts}");
        assert!(distance("mean") > 1e-2, "{parts}");
        assert!(distance("sum") > 1e-2, "{parts}");
    }
}

#[test]
fn a_loss_that_does_not_stay_finite_is_a_result() {
    let contender = optimizers::named("sgd").unwrap();
    let run = Run {
        step_size: 1e12,
        ..run(&Diamonds::DEFINITION, &contender, 1)
    };
    let record = train::<Short<Diamonds, 30>>(&run, Path::new("")).unwrap();
    let divergence = record.diverged.unwrap();
    assert!(divergence.step < 30 && divergence.reason.contains("finite"));
    assert_eq!((record.final_train_loss, record.test_score), (None, None));
}

#[test]
fn missing_data_say_what_to_fetch() {
    for (task, folders) in [
        ("mnist-mlp", "mnist10k"),
        ("trec-lora", "minilm trec"),
        ("cifar10-cnn", "cifar10"),
    ] {
        let entry = tasks::tasks::named(task).unwrap();
        let contender = optimizers::named("ief").unwrap();
        let run = run(entry.definition, &contender, 1);
        let error = (entry.train)(&run, Path::new("/nowhere"))
            .unwrap_err()
            .to_string();
        let expected = format!("fetch-data --out DIR {folders}");
        assert!(error.contains(task) && error.contains(&expected), "{error}");
    }
}

#[test]
fn budgets_are_those_that_the_book_states() {
    let definition = |trained| {
        let all = tasks::tasks::definitions(None);
        all.into_iter().find(|own| own.trained == trained).unwrap()
    };
    let lora = definition(Trained::Lora);
    for contender in optimizers::all() {
        let grid = grid(&contender.budget, lora.trained).len();
        let expected = match contender.name {
            "adamw" | "ief-tuned" => (12, 5),
            "ief" | "ief-constant" | "ief-0.3" => (1, 5),
            "adamw-late" => (6, 5),
            "sgd" | "muon" | "adafactor" | "lora-plus" | "riemannian" | "lora-rite" => (5, 3),
            _ => (1, 3),
        };
        let (Budget::Fixed { seeds, .. } | Budget::Searched { seeds, .. }) = contender.budget;
        assert_eq!((grid, seeds), expected, "{}", contender.name);
    }
}
