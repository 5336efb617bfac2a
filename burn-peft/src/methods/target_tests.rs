//! Against the choices of PEFT itself, see `tests/fixtures/README.md`.

use serde_json::{Map, Value};

use crate::error::Error;
use crate::lora::LoraConfig;
use crate::methods::PeftConfig;
use crate::settings::Modules;
use crate::targets::ModuleKind;

fn golden() -> Value {
    serde_json::from_str(include_str!("../../tests/fixtures/targets.json")).unwrap()
}

fn settings(fields: &Map<String, Value>, version: &str) -> LoraConfig {
    let mut fields = fields.clone();
    fields.insert("peft_type".into(), "LORA".into());
    fields.insert("peft_version".into(), version.into());
    let text = Value::Object(fields).to_string();
    match PeftConfig::parse(text.as_bytes()) {
        Ok(PeftConfig::Lora(settings)) => settings,
        other => panic!("{text}: {other:?}"),
    }
}

fn texts(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap().iter();
    list.map(|text| text.as_str().unwrap()).collect()
}

fn modules(model: &Value) -> Vec<(String, ModuleKind)> {
    let modules = model.as_array().unwrap().iter();
    modules
        .map(|module| {
            let [name, kind] = texts(module).try_into().unwrap();
            let kind = match kind {
                "linear" => ModuleKind::Linear,
                "embedding" => ModuleKind::Embedding,
                "conv2d" => ModuleKind::Conv2d,
                _ => ModuleKind::Other,
            };
            (name.to_string(), kind)
        })
        .collect()
}

#[test]
fn targets_are_those_of_peft() {
    let golden = golden();
    let mut compared = 0;
    for case in golden["cases"].as_array().unwrap() {
        let modules = modules(&golden["models"][case["model"].as_str().unwrap()]);
        let expected = texts(&case["targets"]);
        for version in texts(&case["versions"]) {
            let settings = settings(case["config"].as_object().unwrap(), version);
            let targets = match PeftConfig::from(&settings).targets(&modules) {
                Ok(targets) => targets,
                // PEFT raises an error too where nothing is left.
                Err(Error::NoTarget { .. } | Error::AllExcluded { .. }) => Vec::new(),
                Err(error) => panic!("{case}: {error}"),
            };
            let names: Vec<_> = targets.iter().map(|target| &target.module).collect();
            assert_eq!(names, expected, "{version}: {case}");
            compared += 1;
        }
    }
    assert_eq!(compared, 68 * 3);
}

#[test]
fn ranks_are_those_of_peft() {
    let golden = golden();
    let names = texts(&golden["rank_names"]);
    for case in golden["ranks"].as_array().unwrap() {
        let patterns = case["rank_pattern"].as_array().unwrap().iter();
        let patterns = patterns.map(|entry| {
            let rank = entry[1].as_u64().unwrap();
            (entry[0].as_str().unwrap(), rank)
        });
        let patterns: Vec<_> = patterns.collect();
        let settings = LoraConfig::new()
            .with_rank_pattern(patterns.iter().map(|(key, rank)| (*key, *rank as usize)))
            .with_alpha_pattern(patterns.iter().map(|(key, rank)| (*key, *rank as f64)));
        let scales = settings.scales().unwrap();
        let expected = case["ranks"].as_array().unwrap();
        for (name, expected) in names.iter().zip(expected) {
            let expected = expected.as_u64().unwrap();
            assert_eq!(
                scales.rank_of(name).unwrap() as u64,
                expected,
                "{name}: {case}"
            );
            assert_eq!(
                scales.alpha_of(name).unwrap(),
                expected as f64,
                "{name}: {case}"
            );
            assert_eq!(scales.scale_of(name).unwrap(), 1.0);
        }
    }
}

#[test]
fn the_first_pattern_in_the_file_counts() {
    let rank = |patterns: [(&str, usize); 2]| {
        let settings = LoraConfig::new().with_rank_pattern(patterns);
        let text = PeftConfig::from(settings).to_json().unwrap();
        match PeftConfig::parse(text.as_bytes()) {
            Ok(PeftConfig::Lora(settings)) => settings
                .scales()
                .unwrap()
                .rank_of("layers.0.q_proj")
                .unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(rank([("q_proj", 4), ("layers.0.q_proj", 2)]), 4);
    assert_eq!(rank([("layers.0.q_proj", 2), ("q_proj", 4)]), 2);
}

#[test]
fn what_cannot_be_resolved_is_a_typed_error() {
    let modules = [
        ("a.query".to_string(), ModuleKind::Linear),
        ("a.norm".to_string(), ModuleKind::Other),
    ];
    let resolve = |settings: LoraConfig| PeftConfig::from(&settings).targets(&modules).unwrap_err();
    let query = || LoraConfig::new().with_target_modules(["query"]);
    let field = match resolve(LoraConfig::new()) {
        Error::Config { field, .. } => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field, "target_modules");
    let near = match resolve(LoraConfig::new().with_target_modules(["querry"])) {
        Error::NoTarget { near, .. } => near,
        other => panic!("{other:?}"),
    };
    assert_eq!(near, ["query"]);
    let excluded = resolve(query().with_exclude_modules(["a.query"]));
    assert!(matches!(excluded, Error::AllExcluded { .. }), "{excluded}");
    let kind = resolve(LoraConfig::new().with_target_modules(["norm"]));
    let module = "a.norm".to_string();
    let expected = "a linear, embedding or convolution layer";
    assert_eq!(kind, Error::TargetKind { module, expected });
    for settings in [
        LoraConfig::new().with_target_modules(Modules::pattern("a)")),
        query().with_exclude_modules(Modules::pattern("(")),
        query().with_modules_to_save(["("]),
        query()
            .with_layers_to_transform([0])
            .with_layers_pattern("(?P<idx>h)"),
        query().with_rank_pattern([("[", 2)]),
    ] {
        let error = resolve(settings);
        assert!(matches!(error, Error::Pattern { .. }), "{error}");
    }
}

#[test]
fn another_head_can_be_named() {
    let modules = ["q", "to_words"].map(|name| (name.to_string(), ModuleKind::Linear));
    let settings = LoraConfig::new().with_target_modules(Modules::all_linear());
    let targets = PeftConfig::from(&settings)
        .targets_with_head(&modules, Some("to_words"))
        .unwrap();
    assert_eq!(targets.len(), 1);
    assert_eq!(
        PeftConfig::from(&settings).targets(&modules).unwrap().len(),
        2
    );
}
