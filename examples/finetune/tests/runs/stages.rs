//! Runs that are opened again.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn_ief::eval::{Fisher, GammaMethod, LossKind, summed_gradient};
use burn_ief::prelude::*;
use finetune::Error;
use finetune::model::Judged;
use finetune::stages::{KeptRun, Stages, Visit};

use crate::on_texts;
use crate::place::Place;

/// Opening a run seeds the device, which all threads share.
static TURN: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Train for three steps, each an epoch on all rows, and open the run.
fn trained(place: &Place, run: &str, flags: &[&str]) -> KeptRun {
    place.succeed(&[flags, &["--batch=200", "--epochs=3", "--keep-checkpoints"]].concat());
    open(place, run).unwrap()
}

fn open(place: &Place, run: &str) -> Result<KeptRun, Error> {
    KeptRun::open_with(&place.path(run), |config| {
        let here = |path: &mut Option<PathBuf>| {
            *path = path.take().map(|path| place.path(path.to_str().unwrap()));
        };
        here(&mut config.data.folder);
        here(&mut config.model.folder);
    })
}

/// The training loss at every stage, over all rows.
struct Losses;

impl Visit for Losses {
    type Output = Vec<f64>;
    type Error = Error;

    fn visit<M: Judged>(self, stages: Stages<'_, M>) -> Result<Vec<f64>, Error> {
        let epochs = stages.epochs().into_iter();
        epochs
            .map(|epoch| stages.training_loss(&stages.model(epoch)?, usize::MAX))
            .collect()
    }
}

/// With one step an epoch, the loss of step k is that of the model after epoch k − 1.
fn has_the_losses_of_the_run(run: &KeptRun) {
    assert_eq!(run.epochs(), [0, 1, 2, 3]);
    let found = run.visit(Losses).unwrap();
    let expected = &run.history().losses;
    assert_eq!(expected.len(), 3);
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() < 1e-5 * expected,
            "{found} {expected}"
        );
    }
    assert!(found[3] != found[2]);
}

#[test]
fn stages_of_texts_have_the_losses_of_the_run() {
    let _turn = alone();
    let place = Place::new();
    place.model("bert");
    place.texts();
    let natural = on_texts("bert", &["--method=iekfac"]);
    has_the_losses_of_the_run(&trained(&place, "runs/iekfac-seed1", &natural));
    let prompt = ["--adapter=prompt", "--virtual-tokens=4", "--method=adamw"];
    let prompt = on_texts("bert", &prompt);
    has_the_losses_of_the_run(&trained(&place, "runs/adamw-seed1", &prompt));
}

#[test]
fn stages_of_answers_have_the_losses_of_the_run() {
    let _turn = alone();
    let place = Place::new();
    place.model("t5_relu");
    place.texts();
    let flags = on_texts("t5_relu", &["--method=ief"]);
    has_the_losses_of_the_run(&trained(&place, "runs/ief-seed1", &flags));
}

#[test]
fn stages_of_pictures_have_the_losses_of_the_run() {
    let _turn = alone();
    let place = Place::new();
    place.model("vit");
    place.pictures();
    let same = ["--task=images", "--data=pictures", "--out=runs"];
    let mlp = [
        "--adapter=full",
        "--hidden=16,16",
        "--image-size=8",
        "--method=sgd",
    ];
    let flags = [&same[..], &mlp].concat();
    has_the_losses_of_the_run(&trained(&place, "runs/sgd-seed1", &flags));
    let flags = [&same[..], &["--model=vit", "--method=ief"]].concat();
    has_the_losses_of_the_run(&trained(&place, "runs/ief-seed1", &flags));
}

/// γ of iEF over γ of SGD at the last stage, once from recorded passes and once from differences.
struct Ratios;

impl Visit for Ratios {
    type Output = [f64; 2];
    type Error = Error;

    fn visit<M: Judged>(self, stages: Stages<'_, M>) -> Result<[f64; 2], Error> {
        let model = stages.model(*stages.epochs().last().unwrap())?;
        let batch = stages.batches(1, 8, 5)?.remove(0);
        assert_eq!(M::samples(&batch), 8);
        let mut ief = IefConfig::new().init(&model);
        let tape = ief.start();
        let update = ief.gradients(tape, model.loss(&batch).backward(), &model)?;
        let scale = LossScale::Mean.factor(M::samples(&batch));
        let sgd = summed_gradient(model.loss(&batch).backward(), &model, scale);
        let mut fisher = Fisher::new(LossKind::CrossEntropy);
        if let Some(padding) = M::padding(&batch) {
            fisher = fisher.with_padding(padding);
        }
        let ratio = |method| {
            let fisher = fisher.clone().with_method(method);
            let at = fisher.at(&model, |model| model.outputs(&batch))?;
            let baseline = at.quality(&sgd, &sgd)?;
            Ok::<f64, Error>(at.quality(&update, &sgd)?.ratio(&baseline))
        };
        Ok([ratio(GammaMethod::Exact)?, ratio(GammaMethod::Differences)?])
    }
}

#[test]
fn updates_are_judged_at_stages_of_every_family() {
    let _turn = alone();
    let place = Place::new();
    place.model("bert");
    place.model("t5_relu");
    place.model("vit");
    place.texts();
    place.pictures();
    let vit = [
        "--task=images",
        "--data=pictures",
        "--model=vit",
        "--out=vit",
    ];
    for (run, flags) in [
        ("runs/ief-seed1", on_texts("bert", &[])),
        ("t5/ief-seed1", on_texts("t5_relu", &["--out=t5"])),
        ("vit/ief-seed1", vit.to_vec()),
    ] {
        let [exact, differences] = trained(&place, run, &flags).visit(Ratios).unwrap();
        assert!(exact < 1.0, "{run}: {exact}");
        assert!(
            (differences / exact - 1.0).abs() < 0.02,
            "{run}: {exact} {differences}"
        );
    }
}

/// What a run without this epoch, this row, and so many rows says.
struct Refused;

impl Visit for Refused {
    type Output = [String; 4];
    type Error = Error;

    fn visit<M: Judged>(self, stages: Stages<'_, M>) -> Result<[String; 4], Error> {
        let model = stages.model(0)?;
        Ok([
            stages.model(9).err().unwrap().to_string(),
            stages.batch(&[0, 1_000_000]).err().unwrap().to_string(),
            stages.batches(1, 1_000_000, 1).err().unwrap().to_string(),
            stages.training_loss(&model, 0).err().unwrap().to_string(),
        ])
    }
}

#[test]
fn what_is_not_there_is_named() {
    let _turn = alone();
    let place = Place::new();
    let model = place.model("bert");
    let data = place.texts();
    let run = trained(&place, "runs/ief-seed1", &on_texts("bert", &[]));
    let [epoch, row, size, rows] = run.visit(Refused).unwrap();
    assert!(
        epoch.contains("no parameters of epoch 9, only of [0, 1, 2, 3]"),
        "{epoch}"
    );
    assert!(row.contains("`row` is 1000000"), "{row}");
    assert!(size.contains("the rows for training"), "{size}");
    assert!(rows.contains("`rows for the loss` is 0"), "{rows}");

    let folder = place.path("runs/ief-seed1");
    let opened = |change: fn(&mut finetune::config::Config)| {
        let run = KeptRun::open_with(&folder, |config| {
            config.data.folder = Some(data.clone());
            config.model.folder = Some(model.clone());
            change(config);
        });
        run.and_then(|run| run.visit(Losses))
            .err()
            .unwrap()
            .to_string()
    };
    let said = opened(|config| config.data.train_rows = Some(20));
    assert!(said.contains("trained on other data"), "{said}");
    let said = opened(|config| config.adapter.rank = Some(2));
    assert!(said.contains("parameters, the model has"), "{said}");
    assert!(KeptRun::open(&place.path("runs")).is_err());
}
