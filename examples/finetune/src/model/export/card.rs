//! A model card in the folder of what was trained.

use std::path::Path;

use programs::files;
use programs::printing::quoted_list;

use super::readme::{Reader, in_python};
use super::{Destination, README};
use crate::config::AdapterKind;
use crate::error::Error;
use crate::history::History;
use crate::problem::Problem;
use crate::target::{LABELS, label_file};

/// Write README.md into the folder of a trained model, and the names of the classes into that of an adapter; a model has
/// them in its configuration.
pub(crate) fn write_card(folder: &Path, history: &History) -> Result<(), Error> {
    let to = Destination::new(folder, &history.config, &history.labels);
    let written = to.written();
    if history.config.adapter.kind != AdapterKind::Full && !history.labels.is_empty() {
        let file = label_file(&history.labels, Some(to.problem()));
        files::write_json(&written.join(LABELS), &file)?;
    }
    Ok(files::write(
        &written.join(README),
        text(&written, folder, history, &to),
    )?)
}

fn text(written: &Path, run: &Path, history: &History, to: &Destination<'_>) -> String {
    let config = &history.config;
    let kind = config.adapter.kind;
    let title = if kind.adapts_layers() {
        format!("{} adapter", kind.title())
    } else {
        kind.title().into()
    };
    let reader = Reader::of(history.model.architecture, config.pooling(), to.problem());
    let mut parts = vec![
        front_matter(history, to),
        format!("# {title}\n"),
        "Written by `finetune`; `run.json`, one folder up, has all settings, losses and times.\n"
            .into(),
        facts(history, to),
        "## In Python\n".into(),
        in_python(reader, written, to),
        "## With `finetune`\n".into(),
        here(reader, run, kind),
    ];
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

/// What the Hub reads of a card.
fn front_matter(history: &History, to: &Destination<'_>) -> String {
    let string = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let mut lines = vec!["---".to_string()];
    if let Some(base) = to.base() {
        lines.push(format!(
            "base_model: {}",
            string(&base.display().to_string())
        ));
    }
    if history.config.adapter.kind != AdapterKind::Full {
        lines.push("library_name: peft".into());
    }
    lines.push("tags:\n- finetune".into());
    lines.push("---\n".into());
    lines.join("\n")
}

/// A table of base, data, settings and results.
fn facts(history: &History, to: &Destination<'_>) -> String {
    let config = &history.config;
    let code = |text: String| format!("`{}`", text.replace('`', "'").replace('|', "\\|"));
    let mut rows: Vec<(&str, String)> = Vec::new();
    if let Some(base) = to.base() {
        rows.push(("base model", code(base.display().to_string())));
    }
    if let Some(data) = &config.data.folder {
        let [train, valid, test] = history.rows;
        let task = serde_json::to_string(&config.task).unwrap_or_default();
        rows.push((
            "data",
            format!(
                "{}, task {}: {train} rows for training, {valid} for validation, {test} for the test",
                code(data.display().to_string()),
                task.trim_matches('"')
            ),
        ));
    }
    if !history.labels.is_empty() {
        let what = match to.problem() {
            Problem::Regression => "number",
            Problem::MultiLabel => "labels",
            Problem::Tokens => "tags",
            Problem::SingleLabel | Problem::Language => "classes",
        };
        rows.push((what, quoted_list(&history.labels).replace('|', "\\|")));
    }
    let adapter = &config.adapter;
    let what = match adapter.kind {
        _ if let Some(from) = &adapter.from => {
            format!("going on from {}: ", code(from.display().to_string()))
        }
        AdapterKind::Lora => {
            let also = [(adapter.rslora, ", rsLoRA"), (adapter.dora, ", DoRA")];
            let also = also
                .iter()
                .filter_map(|(is_on, name)| is_on.then_some(*name));
            let also: String = also.collect();
            format!(
                "LoRA of rank {}, alpha {}{also}: ",
                adapter.rank(),
                adapter.alpha
            )
        }
        AdapterKind::Vera => format!("VeRA of rank {}: ", adapter.rank()),
        AdapterKind::Loha | AdapterKind::Lokr => format!(
            "{} of rank {}, alpha {}: ",
            adapter.kind.title(),
            adapter.rank(),
            adapter.alpha
        ),
        AdapterKind::Ia3 => "IA³: ".into(),
        AdapterKind::Prompt => format!("{} virtual tokens: ", adapter.virtual_tokens),
        AdapterKind::PTuning => format!(
            "{} virtual tokens and the network that makes them (P-tuning): ",
            adapter.virtual_tokens
        ),
        AdapterKind::Full => String::new(),
    };
    let model = &history.model;
    rows.push((
        "trained",
        format!(
            "{what}{} of {} parameters",
            model.trainable, model.parameters
        ),
    ));
    let options = config.options(history.method);
    rows.push((
        "method",
        format!(
            "{}, step size {} ({}), steps of {} rows, seed {}",
            history.method.title(),
            options.step_size,
            options.schedule,
            config.training.batch * config.training.accumulation,
            history.seed
        ),
    ));
    if let Some(best) = history.best_epoch {
        let metric = history.metrics.first().map_or("", String::as_str);
        rows.push((
            "validation",
            format!(
                "{metric} {:.4} in epoch {best}, the best of {}",
                history.best_valid(),
                history.epochs.len()
            ),
        ));
    }
    if let Some(test) = &history.test {
        let metrics = history.metrics.iter().filter_map(|name| {
            let value = test.metrics.get(name)?;
            Some(format!("{name} {value:.4}"))
        });
        let metrics: Vec<String> = metrics.collect();
        rows.push((
            "test",
            format!("{}, loss {:.4}", metrics.join(", "), test.loss),
        ));
    }
    let rows = rows
        .iter()
        .map(|(name, value)| format!("| {name} | {value} |\n"));
    format!("| | |\n| --- | --- |\n{}", rows.collect::<String>())
}

/// Commands of this program.
fn here(reader: Reader, run: &Path, kind: AdapterKind) -> String {
    let run = run.display();
    let data = match reader {
        Reader::Images(_) | Reader::Layers => "pictures/",
        Reader::Tags => "rows.jsonl",
        _ => "rows.csv",
    };
    let mut lines = vec![format!("finetune predict {run} --data {data}")];
    if reader == Reader::Language {
        lines.push(format!("finetune generate {run} --prompt \"A question?\""));
    }
    if kind.adapts_layers() {
        lines.push(format!("finetune merge {run} --out merged"));
    }
    format!("```sh\n{}\n```\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use programs::optimizer::optimizer;

    use super::*;
    use crate::config::{Architecture, Config};
    use crate::data::Task;
    use crate::history::{ModelFacts, Scores};

    #[test]
    fn a_card_has_base_data_settings_and_results() {
        let mut config = Config {
            task: Some(Task::Csv),
            ..Config::default()
        };
        config.model.folder = Some("bert".into());
        config.data.folder = Some("rows|1.csv".into());
        let mut history = crate::history::tests::history(optimizer("adamw"), 1, &[(0.75, 0.5)]);
        history.config = config;
        history.labels = vec!["no".into(), "yes \"1\"".into()];
        history.model = ModelFacts {
            architecture: Architecture::Bert,
            trainable: 10,
            parameters: 100,
        };
        history.test = Some(Scores {
            loss: 0.25,
            metrics: [("accuracy".to_string(), 0.875)].into(),
        });
        let folder = tempfile::tempdir().unwrap();
        files::make_folder(&folder.path().join("adapter")).unwrap();
        write_card(folder.path(), &history).unwrap();
        let read =
            |name: &str| std::fs::read_to_string(folder.path().join("adapter").join(name)).unwrap();
        let card = read(README);
        for part in [
            "base_model: \"bert\"",
            "| data | `rows\\|1.csv`, task csv",
            "10 of 100 parameters",
            "| test | accuracy 0.8750, loss 0.2500 |",
            "PeftModel.from_pretrained(model, folder)",
            "finetune merge ",
        ] {
            assert!(card.contains(part), "{part}: {card}");
        }
        assert!(read(LABELS).contains("\"1\": \"yes \\\"1\\\"\""));
    }
}
