//! The program on a run of `finetune`.

use std::path::Path;
use std::process::{Command, Output};

use clap::Parser;
use finetune::cli::Cli;
use finetune::experiment::{Experiment, Flags};
use finetune::stop::Stop;
use image::{Rgb, RgbImage};
use programs::optimizer::optimizer;

/// 20 pictures of 8 × 8 pixels of each of two classes, dark and light.
fn pictures(folder: &Path) {
    for (class, base) in [("dark", 40u8), ("light", 180)] {
        let folder = folder.join(class);
        std::fs::create_dir_all(&folder).unwrap();
        for number in 0..20u8 {
            let picture = RgbImage::from_fn(8, 8, |x, y| {
                let speckle = (x * 7 + y * 3 + u32::from(number) * 5) % 40;
                Rgb([base + speckle as u8, base, base + number])
            });
            picture.save(folder.join(format!("{number}.png"))).unwrap();
        }
    }
}

/// Train a perceptron for three epochs.
fn train(place: &Path) {
    pictures(&place.join("pictures"));
    let [data, out] = ["pictures", "runs"].map(|name| place.join(name).display().to_string());
    let flags = [
        "finetune",
        "--task=images",
        "--adapter=full",
        "--hidden=8,8",
        "--image-size=8",
        "--batch=8",
        "--epochs=3",
        "--name=perceptron",
        "--keep-checkpoints",
        "--data",
        &data,
        "--out",
        &out,
    ];
    let config = Cli::parse_from(flags).run.effective().unwrap();
    let experiment = Experiment::open(config).unwrap();
    let flags = Flags {
        plain: true,
        ..Flags::default()
    };
    experiment
        .run(optimizer("ief"), 1, flags, &Stop::default())
        .unwrap();
}

fn figures(place: &Path, flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_figures"))
        .args(["--run", "runs/ief-seed1", "--out", "figures"])
        .args(flags)
        .current_dir(place)
        .output()
        .unwrap()
}

fn refused(place: &Path, flags: &[&str]) -> String {
    let output = figures(place, flags);
    assert!(!output.status.success(), "{flags:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Stage, direction and relative damping of every row.
fn rows(place: &Path, name: &str) -> Vec<[String; 3]> {
    let mut reader = csv::Reader::from_path(place.join("figures").join(name)).unwrap();
    let headers = reader.headers().unwrap().clone();
    let column = |name| headers.iter().position(|header| header == name).unwrap();
    let columns = ["stage", "direction", "relative_damping"].map(column);
    reader
        .records()
        .map(|record| record.unwrap())
        .map(|record| columns.map(|column| record[column].to_string()))
        .collect()
}

#[test]
fn the_stages_of_a_run_are_drawn() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    train(place);

    let small = ["--batches=2", "--batch-size=8"];
    let output = figures(
        place,
        &[&small[..], &["--stages=0,3", "--lambdas=6"]].concat(),
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // SGD, and four rules at two dampings, at both stages.
    let found = rows(place, "perceptron_stages.csv");
    assert_eq!(found.len(), 2 * 9);
    assert!(found.iter().all(|[stage, ..]| stage == "0" || stage == "3"));
    let swept = rows(place, "perceptron_sweep.csv");
    assert_eq!(swept.len(), 4 * 6);
    for name in ["perceptron_sweep.svg", "perceptron_kfac.svg"] {
        let svg = std::fs::read_to_string(place.join("figures").join(name)).unwrap();
        assert!(svg.contains("relative λ"), "{name}");
    }
    assert!(!place.join("figures/toy_logistic.svg").exists());

    let said = refused(place, &["--stages=0,9"]);
    assert!(said.contains("no parameters of epoch 9"), "{said}");
    let said = refused(place, &["--batch-size=1000"]);
    assert!(said.contains("the rows for training"), "{said}");
    for flag in ["--epochs=2", "--trained-by=sf"] {
        let said = refused(place, &[flag]);
        assert!(said.contains("cannot be used with"), "{said}");
    }
    let said = refused(place, &["--lambdas=1"]);
    assert!(said.contains("at least 2"), "{said}");
    for flag in ["--lambdas=1000000000000", "--batches=1000000000000"] {
        let said = refused(place, &[flag]);
        assert!(said.contains("expected 2 to 10000"), "{said}");
    }

    // Another picture under the same path: the stages would be judged on rows that they were not trained on.
    let other = RgbImage::from_pixel(8, 8, Rgb([1, 2, 3]));
    other.save(place.join("pictures/dark/3.png")).unwrap();
    let said = refused(place, &small);
    assert!(
        said.contains("changed since it began: rows of the data"),
        "{said}"
    );
}
