//! Tables, curves and their numbers.

mod curve;
mod group;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use programs::files;
use programs::plot::Chart;
use programs::statistics::{median, with_spread};
use programs::table::{self, Style, Table};

use crate::config;
use crate::error::Error;
use crate::history::{FILE, History, Status};
use crate::method_options::MethodOptions;
use curve::MeanCurve;
use group::groups;

/// How deep below a folder runs are looked for.
const DEPTH: usize = 4;

/// What is in and below folders.
///
/// ```
/// let found = finetune::report::FoundRuns::default();
/// assert!(found.runs.is_empty() && found.unreadable.is_empty());
/// ```
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct FoundRuns {
    /// Runs with their folders, by setup, method and seed.
    pub runs: Vec<(PathBuf, History)>,
    /// Records that cannot be read.
    pub unreadable: Vec<Error>,
}

impl FoundRuns {
    /// The records of the runs.
    pub fn histories(self) -> Vec<History> {
        self.runs.into_iter().map(|(_, history)| history).collect()
    }
}

/// All runs in and below folders; those of searches for step sizes (`tune`) only if asked for by name. A record
/// that cannot be read does not hide the others.
///
/// # Errors
///
/// [`Error::RunFolder`] if a folder has none, [`Error::Read`] or [`Error::RunFolder`] if none can be read.
pub fn find_runs(folders: &[PathBuf]) -> Result<FoundRuns, Error> {
    let mut paths = BTreeSet::new();
    for folder in folders {
        let before = paths.len();
        find(folder, DEPTH, &mut paths);
        if paths.len() == before && !folder.join(FILE).exists() {
            return Err(Error::RunFolder {
                path: folder.clone(),
                problem: format!("no run here: expected a folder with {FILE} in or below it"),
            });
        }
    }
    let mut found = FoundRuns::default();
    for path in paths {
        match History::read(&path) {
            Ok(history) => found.runs.push((path, history)),
            Err(error) => found.unreadable.push(error),
        }
    }
    if found.runs.is_empty()
        && let Some(error) = found.unreadable.pop()
    {
        return Err(error);
    }
    let key = |run: &History| (run.config.name.clone(), run.method, run.seed);
    found.runs.sort_by_key(|(_, run)| key(run));
    Ok(found)
}

/// Why runs are not finished, a line for each that failed or was interrupted.
///
/// ```
/// assert!(finetune::report::troubles(&[]).is_empty());
/// ```
pub fn troubles(histories: &[History]) -> Vec<String> {
    histories.iter().filter_map(History::trouble).collect()
}

/// Methods of finished runs with their default step size, a line for each: nobody has searched it, so that a comparison
/// says little about the method.
///
/// A search (`--tune`) that chose this size leaves it in `tuned.toml`, next to the runs.
///
/// ```
/// assert!(finetune::report::untuned(&[]).is_empty());
/// ```
pub fn untuned(histories: &[History]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for run in histories {
        let size = run.config.options(run.method).step_size;
        let is_default = size == MethodOptions::of(run.method).step_size;
        if is_default && run.status == Status::Finished && searched(run) != Some(size) {
            found.insert((
                run.config.name.as_str(),
                run.method.title(),
                size.to_string(),
            ));
        }
    }
    let line = |(setup, method, size): (&str, &str, String)| {
        format!("{setup} {method}: step size {size} is the default and was not searched (--tune)")
    };
    found.into_iter().map(line).collect()
}

/// The step size that a search left for a run's method.
fn searched(run: &History) -> Option<f64> {
    let tuned = config::read(&run.config.out.join("tuned.toml")).ok()?;
    tuned
        .get("method")?
        .get(run.method.name())?
        .get("step_size")?
        .as_f64()
}

fn find(folder: &Path, depth: usize, found: &mut BTreeSet<PathBuf>) {
    if folder.join(FILE).exists() {
        found.insert(folder.into());
        return;
    }
    if depth == 0 {
        return;
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        if entry.file_name() != "tune" && entry.path().is_dir() {
            find(&entry.path(), depth - 1, found);
        }
    }
}

const HEADER: [&str; 9] = [
    "setup",
    "method",
    "step size",
    "runs",
    "training loss",
    "validation",
    "test",
    "ms / step",
    "peak MiB",
];

/// One line for each setup, method and choice of settings: mean ± standard deviation over the seeds.
/// Beside the step size it names the settings in which lines of a method differ; runs that are not
/// finished have a line of their own. The training loss
/// is the mean over the last epoch; validation and test are those of the best epoch, in the task's
/// metrics; the time is the median over steps and seeds.
///
/// ```
/// assert!(finetune::report::table(&[]).to_string().contains("training loss"));
/// ```
pub fn table(histories: &[History]) -> Table {
    styled(histories, Style::Lines)
}

fn styled(histories: &[History], style: Style) -> Table {
    let mut rows = Vec::new();
    for group in groups(histories) {
        let metrics = group.metrics();
        let valid = group.values(|run| Some(run.best_valid()));
        let test = metrics.iter().map(|metric| {
            let of = |run: &History| run.test.as_ref()?.metrics.get(metric).copied();
            format!("{metric} {}", with_spread(&group.values(of), 4))
        });
        let time = median(&group.values(|run| Some(run.ms_per_step())));
        rows.push([
            group.name.to_string(),
            group.method.title().into(),
            group.described(),
            group.count(),
            with_spread(&group.values(|run| Some(run.final_train_loss())), 4),
            with_spread(&valid, 4),
            test.collect::<Vec<_>>().join("\n"),
            table::number(Some(time), 1),
            with_spread(&group.values(|run| run.peak_memory_mib), 0),
        ]);
    }
    table::table(style, HEADER, &[0, 1], rows)
}

/// Write `runs.csv` (a line for each run), `table.md`, and for every setup the curves of training
/// loss and validation as SVG and CSV; returns the paths.
///
/// # Errors
///
/// [`Error::Write`].
pub fn write(out: &Path, histories: &[History]) -> Result<Vec<PathBuf>, Error> {
    files::make_folder(out)?;
    let mut paths = Vec::new();
    let mut put = |name: String, content: &[u8]| {
        let path = out.join(name);
        files::write(&path, content)?;
        paths.push(path);
        Ok::<(), Error>(())
    };
    put(
        "runs.csv".into(),
        &rows(histories).map_err(|error| Error::write(out, error))?,
    )?;
    let markdown = styled(histories, Style::Markdown).to_string();
    let mut troubles = troubles(histories);
    troubles.extend(untuned(histories));
    let lines = troubles.iter().map(|trouble| format!("\n- {trouble}"));
    let notes: String = lines.collect();
    let notes = if notes.is_empty() {
        notes
    } else {
        format!("\n{notes}\n")
    };
    put("table.md".into(), (markdown + "\n" + &notes).as_bytes())?;
    let groups = groups(histories);
    let names: BTreeSet<&str> = groups.iter().map(|group| group.name).collect();
    for name in names {
        let of_setup = || groups.iter().filter(|group| group.name == name);
        let curves: [(&str, Vec<MeanCurve>); 2] = [
            (
                "training-loss",
                of_setup()
                    .filter_map(|g| MeanCurve::training(g.title(&groups), g.method, &g.runs))
                    .collect(),
            ),
            (
                "validation",
                of_setup()
                    .filter_map(|g| MeanCurve::validation(g.title(&groups), g.method, &g.runs))
                    .collect(),
            ),
        ];
        let metric = of_setup().find_map(|group| group.metrics().first().cloned());
        for (kind, curves) in curves {
            let axis = match kind {
                "validation" => format!("validation {}", metric.as_deref().unwrap_or("metric")),
                _ => "training loss".into(),
            };
            let chart = Chart {
                title: name.into(),
                axis,
                logarithmic: kind == "training-loss",
            };
            let drawn = curve::drawn(&curves);
            let svg = chart
                .svg(&drawn)
                .map_err(|error| Error::write(out, error))?;
            put(format!("{name}-{kind}.svg"), svg.as_bytes())?;
            let csv = curve::csv(&curves).map_err(|error| Error::write(out, error))?;
            put(format!("{name}-{kind}.csv"), &csv)?;
        }
    }
    Ok(paths)
}

/// A line for each run.
fn rows(histories: &[History]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "setup",
        "method",
        "seed",
        "status",
        "step_size",
        "epochs",
        "best_epoch",
        "train_loss",
        "valid",
        "test",
        "test_loss",
        "ms_per_step",
        "peak_mib",
        "trainable",
        "reason",
    ])?;
    for run in histories {
        let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        let known = |value: f64| number(Some(value).filter(|value| !value.is_nan()));
        let test = run.test.as_ref();
        let metric = run.metrics.first();
        let first = test
            .zip(metric)
            .and_then(|(test, name)| test.metrics.get(name).copied());
        let status = serde_json::to_value(run.status).unwrap_or_default();
        writer.write_record([
            run.config.name.clone(),
            run.method.name().into(),
            run.seed.to_string(),
            status.as_str().unwrap_or_default().into(),
            run.config.options(run.method).step_size.to_string(),
            run.epochs.len().to_string(),
            number(run.best_epoch.map(|epoch| epoch as f64)),
            known(run.final_train_loss()),
            known(run.best_valid()),
            known(first.unwrap_or(f64::NAN)),
            known(test.map_or(f64::NAN, |test| test.loss)),
            known(run.ms_per_step()),
            number(run.peak_memory_mib),
            run.model.trainable.to_string(),
            run.reason.clone().unwrap_or_default(),
        ])?;
    }
    writer
        .into_inner()
        .map_err(|error| error.into_error().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Scores;
    use crate::history::tests::history;
    use programs::optimizer::{OptimizerName, optimizer};

    #[test]
    fn default_step_sizes_are_named_until_they_are_searched() {
        let folder = tempfile::tempdir().unwrap();
        let mut runs = [optimizer("adamw"), optimizer("sgd"), optimizer("sgd")]
            .map(|method| run(method, 1, 0.5));
        for run in &mut runs {
            run.config.out = folder.path().into();
        }
        // Another size than the default.
        let method = runs[0].method;
        let mut options = runs[0].config.options(method);
        options.step_size *= 3.0;
        runs[0].config = runs[0].config.clone().with_options(method, options);
        let notes = untuned(&runs);
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(
            notes[0].contains("SGD: step size 0.1 is the default"),
            "{notes:?}"
        );
        let tuned = "[method.sgd]\nstep_size = 0.1\n";
        fs::write(folder.path().join("tuned.toml"), tuned).unwrap();
        assert!(untuned(&runs).is_empty());
    }

    fn run(method: OptimizerName, seed: u64, test: f64) -> History {
        let mut run = history(method, seed, &[(0.5, 1.0), (0.8, 0.4)]);
        run.config.name = "toy".into();
        run.test = Some(Scores {
            loss: 0.5,
            metrics: [("accuracy".to_string(), test)].into(),
        });
        run
    }

    #[test]
    fn the_table_has_means_and_deviations() {
        let runs = [
            run(optimizer("ief"), 1, 0.7),
            run(optimizer("ief"), 2, 0.9),
            run(OptimizerName::SGD, 1, 0.6),
        ];
        let text = table(&runs).to_string();
        assert!(text.contains("accuracy 0.8000 ± 0.1414"), "{text}");
        assert!(text.contains("accuracy 0.6000"), "{text}");
        assert!(text.contains("0.2000 ± 0.0000"), "{text}");
    }

    #[test]
    fn a_report_is_made_of_folders() {
        let folder = tempfile::tempdir().unwrap();
        for run in [
            run(optimizer("ief"), 1, 0.7),
            run(OptimizerName::SGD, 1, 0.9),
        ] {
            let own = folder.path().join("toy").join(run.method.name());
            fs::create_dir_all(&own).unwrap();
            run.write(&own).unwrap();
        }
        let tuned = folder.path().join("toy/tune/ief");
        fs::create_dir_all(&tuned).unwrap();
        run(optimizer("ief"), 100, 0.1).write(&tuned).unwrap();
        let histories = find_runs(&[folder.path().into()]).unwrap().histories();
        assert_eq!(histories.len(), 2);
        let paths = write(folder.path(), &histories).unwrap();
        let names: Vec<_> = paths.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(
            names,
            [
                "runs.csv",
                "table.md",
                "toy-training-loss.svg",
                "toy-training-loss.csv",
                "toy-validation.svg",
                "toy-validation.csv"
            ]
        );
        let rows = fs::read_to_string(&paths[0]).unwrap();
        assert!(
            rows.contains("toy,ief,1,finished,1,2,2,0.2,0.8,0.7,0.5,10,100,1"),
            "{rows}"
        );
        let svg = fs::read_to_string(&paths[4]).unwrap();
        assert!(svg.contains("validation accuracy") && svg.contains("iEF") && svg.contains("SGD"));
    }

    #[test]
    fn runs_that_failed_do_not_hide_others_and_have_their_cause() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, run: &History| {
            let own = folder.path().join(name);
            fs::create_dir_all(&own).unwrap();
            run.write(&own).unwrap();
        };
        put("good", &run(optimizer("ief"), 1, 0.7));
        let mut failed = run(OptimizerName::SGD, 2, f64::NAN);
        failed.status = Status::Failed;
        failed.reason = Some("the training loss of step 9 is NaN".into());
        failed.test.as_mut().unwrap().loss = f64::NAN;
        put("failed", &failed);
        fs::create_dir_all(folder.path().join("cut")).unwrap();
        fs::write(folder.path().join("cut").join(FILE), "{").unwrap();

        let found = find_runs(&[folder.path().into()]).unwrap();
        assert_eq!((found.runs.len(), found.unreadable.len()), (2, 1));
        let histories = found.histories();
        let text = table(&histories).to_string();
        assert!(
            text.contains("0.7000") && text.contains("1 unfinished"),
            "{text}"
        );
        let said = "toy SGD seed 2 failed: the training loss of step 9 is NaN";
        assert_eq!(troubles(&histories), [said]);
        let paths = write(folder.path(), &histories).unwrap();
        let [csv, markdown] = [0, 1].map(|file| fs::read_to_string(&paths[file]).unwrap());
        assert!(
            csv.contains(",the training loss of step 9 is NaN\n"),
            "{csv}"
        );
        assert!(!csv.contains(",NaN,"), "{csv}");
        let untuned = "toy iEF: step size 1 is the default and was not searched (--tune)";
        assert!(
            markdown.contains(&format!("\n- {said}\n- {untuned}\n")),
            "{markdown}"
        );
        assert!(find_runs(&[folder.path().join("cut")]).is_err());
    }

    #[test]
    fn a_folder_without_runs_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = find_runs(&[folder.path().into()]).unwrap_err();
        assert!(error.to_string().contains("no run here"), "{error}");
    }
}
