//! Adapters with parameters of their own (heads, biases, norms, changes of the base, tables): several
//! in one model, against PEFT 0.21.2 with each alone.

use crate::reference;

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use burn_hf_models::bert::{BertForSequenceClassification as Bert, BertInput};
use burn_hf_models::llama::{LlamaForCausalLM as Llama, LlamaInput};
use burn_hf_models::t5::{T5ForConditionalGeneration as T5, T5Input, T5Source};
use burn_peft::{AdapterFolder, Error, NameMap, Peft};
use reference::{Tensors, folder, relative};

/// f32 against f64.
const TOLERANCE: f64 = 1e-5;

/// The logits of a model for the inputs of its case.
type Logits<M> = Box<dyn Fn(&M) -> Vec<f64>>;

/// A model with its inputs, and PEFT's logits.
struct Case<M> {
    model: &'static str,
    base: M,
    names: Vec<NameMap>,
    logits: Logits<M>,
    expected: Tensors,
}

impl<M: Module> Case<M> {
    fn new(
        model: &'static str,
        base: M,
        names: Vec<NameMap>,
        logits: impl Fn(&M) -> Vec<f64> + 'static,
    ) -> Self {
        Self {
            model,
            base,
            names,
            logits: Box::new(logits),
            expected: Tensors::read(&format!("own_parameters/{model}/logits.safetensors")),
        }
    }

    fn folder(&self, name: &str) -> AdapterFolder {
        AdapterFolder::read(folder(&format!("own_parameters/{}/{name}", self.model))).unwrap()
    }

    fn load(&self, model: M, name: &str) -> M {
        let model = model.load_adapter(name, &self.folder(name), &self.names);
        model.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The logits, which are those of PEFT under this name.
    fn checked(&self, model: &M, name: &str) -> Vec<f64> {
        let found = (self.logits)(model);
        let error = relative(&found, self.expected.values(name));
        assert!(error < TOLERANCE, "{name}: {error:e}");
        found
    }
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

fn bert(device: &Device) -> Case<Bert> {
    let golden = Tensors::golden("bert");
    let ids = |name: &str| golden.ids::<2>(&format!("input.{name}"), device);
    let input = BertInput::new(ids("input_ids"))
        .with_attention_mask(ids("attention_mask"))
        .with_token_type_ids(ids("token_type_ids"));
    let base = Bert::load(&folder("bert"), &Bert::load_options(), device).unwrap();
    Case::new("bert", base, Bert::names(), move |model: &Bert| {
        values(model.forward(input.clone()).unwrap().logits)
    })
}

fn qwen2(device: &Device) -> Case<Llama> {
    let golden = Tensors::golden("qwen2");
    let ids = |name: &str| golden.ids::<2>(&format!("input.{name}"), device);
    let input = LlamaInput::new(ids("input_ids")).with_attention_mask(ids("attention_mask"));
    let base = Llama::load(&folder("qwen2"), device).unwrap();
    Case::new("qwen2", base, Llama::names(), move |model: &Llama| {
        values(model.forward(input.clone()).unwrap().logits)
    })
}

fn t5(device: &Device) -> Case<T5> {
    let golden = Tensors::golden("t5_relu");
    let ids = |name: &str| golden.ids::<2>(&format!("input.{name}"), device);
    let source = T5Source {
        attention_mask: Some(ids("attention_mask")),
        ..T5Source::new(ids("input_ids"))
    };
    let input = T5Input::new(source, ids("decoder_input_ids"));
    let base = T5::load(&folder("t5_relu"), device).unwrap();
    Case::new("t5_relu", base, T5::names(), move |model: &T5| {
        values(model.forward(input.clone()).unwrap().logits)
    })
}

/// Every adapter alone, all of them in one model, switched, off, removed, saved and merged.
fn check<M: Module>(case: &Case<M>, adapters: &[&str]) {
    let base = case.checked(&case.base, "base");
    let mut model = case.base.clone();
    let mut alone = BTreeMap::new();
    for name in adapters {
        let only = case.load(case.base.clone(), name);
        alone.insert(*name, case.checked(&only, name));
        assert_eq!(
            (case.logits)(&only.clone().unload()),
            base,
            "{name} unloaded"
        );
        let off = only.clone().with_adapters_enabled(false);
        assert_eq!((case.logits)(&off), base, "{name} off");
        let removed = only.without_adapter(name).unwrap();
        assert_eq!((case.logits)(&removed), base, "{name} removed");
        // It starts from the base, whatever was active before.
        model = case.load(model, name);
        assert_eq!((case.logits)(&model), alone[name], "{name} loaded");
    }
    let only = |name: &str| model.clone().with_active_adapters(&[(name, 1.0)]).unwrap();
    for active in adapters {
        let model = only(active);
        assert_eq!((case.logits)(&model), alone[active], "switched to {active}");
        let off = model.clone().with_adapters_enabled(false);
        assert_eq!((case.logits)(&off), base, "{active} off");
        let on = off.with_adapters_enabled(true);
        assert_eq!((case.logits)(&on), alone[active], "{active} on again");
        assert_eq!((case.logits)(&model.clone().unload()), base, "unloaded");
        let merged = model.clone().merge_adapters().unwrap();
        let error = relative(&(case.logits)(&merged), &alone[active]);
        assert!(error < TOLERANCE, "{active} merged: {error:e}");
        let unmerged = merged.unmerge_adapters();
        assert_eq!((case.logits)(&unmerged), alone[active], "{active} unmerged");
        // Whatever is active, an adapter is written with its own tensors.
        for name in adapters {
            let file = case.folder(name);
            let written = model.update_folder(name, &file, &case.names).unwrap();
            assert_eq!(written, file, "{name} while {active} is active");
            let saved = model.save_adapter(name, &file.config, &case.names).unwrap();
            for (key, data) in &saved.tensors {
                assert_eq!(Some(data), file.tensors.get(key), "{name}: {key}");
            }
        }
        // As in PEFT, the first of the others takes over.
        let left = model.clone().without_adapter(active).unwrap();
        assert!(!left.adapter_names().iter().any(|name| name == active));
        let mut others = adapters.to_vec();
        others.retain(|name| name != active);
        others.sort_unstable();
        let next = others.first().map_or(&base, |next| &alone[next]);
        assert_eq!(&(case.logits)(&left), next, "without {active}");
    }
}

const BERT: [&str; 7] = [
    "head_a", "head_b", "norms", "biases", "pissa", "olora", "plain",
];

#[test]
fn adapters_own_heads_norms_biases_and_changes_of_the_base() {
    let case = bert(&Device::flex());
    check(&case, &BERT);
    for name in BERT {
        let merged = case.load(case.base.clone(), name).merge_and_unload();
        case.checked(&merged.unwrap(), name);
    }
}

const QWEN2: [&str; 8] = [
    "saved_table",
    "saved_head",
    "saved_both",
    "lora_head",
    "lora_table",
    "lora_both",
    "base_tables",
    "other_rows",
];

#[test]
fn look_up_and_tied_head_change_apart_from_each_other() {
    let case = qwen2(&Device::flex());
    check(&case, &QWEN2);
    for name in QWEN2 {
        let model = case.load(case.base.clone(), name);
        match model.merge_and_unload() {
            // One table is enough for these.
            Ok(merged) if ["base_tables"].contains(&name) => {
                case.checked(&merged, name);
            }
            Ok(_) => panic!("{name} was merged"),
            Err(error) => {
                assert!(matches!(error, Error::TiedMerge { .. }), "{name}: {error}");
                let text = error.to_string();
                assert!(text.contains("`lm_head` is tied to"), "{text}");
            }
        }
    }
}

#[test]
fn t5s_tied_head_changes_and_its_look_ups_are_refused() {
    let case = t5(&Device::flex());
    check(&case, &["saved_head", "lora_head"]);
    let look_ups = case.folder("look_ups");
    let refused = case.base.clone();
    let error = refused
        .load_adapter("a", &look_ups, &case.names)
        .unwrap_err();
    assert!(matches!(error, Error::SharedTable { .. }), "{error}");
    assert!(error.to_string().contains("is tied"), "{error}");
    let error = case.base.clone().adapt("a", &look_ups.config, &case.names);
    assert!(matches!(error, Err(Error::SharedTable { .. })));
}

#[test]
fn two_tables_for_a_tied_model_are_refused() {
    let case = qwen2(&Device::flex());
    let mut file = case.folder("other_rows");
    let key = "base_model.model.lm_head.weight";
    let data = file.tensors[key].clone();
    let doubled: Vec<f32> = data.iter::<f32>().map(|x| 2.0 * x).collect();
    let doubled = TensorData::new(doubled, data.shape().clone());
    file.tensors.insert(key.into(), doubled);
    let error = case.base.clone().load_adapter("a", &file, &case.names);
    let error = error.unwrap_err();
    assert!(matches!(error, Error::TiedTables { .. }), "{error}");
    // One of the two stands for both.
    file.tensors.remove(key);
    let model = case
        .base
        .clone()
        .load_adapter("a", &file, &case.names)
        .unwrap();
    case.checked(&model, "other_rows");
}

#[test]
fn what_the_configuration_names_has_to_be_in_the_file() {
    let case = bert(&Device::flex());
    for (name, part) in [
        ("head_a", "classifier.weight"),
        ("head_a", "classifier.bias"),
        ("norms", "bert.embeddings.LayerNorm.weight"),
        ("norms", "bert.encoder.layer.1.output.LayerNorm.bias"),
        ("biases", "bert.pooler.dense.bias"),
        (
            "biases",
            "bert.encoder.layer.0.attention.self.query.base_layer.bias",
        ),
    ] {
        let mut file = case.folder(name);
        let key = format!("base_model.model.{part}");
        assert!(file.tensors.remove(&key).is_some(), "{key}");
        let error = case.base.clone().load_adapter("a", &file, &case.names);
        assert_eq!(error.unwrap_err(), Error::MissingKey { key });
    }
    let mut prompt = AdapterFolder::read(folder("bert/prompt_tuning")).unwrap();
    let key = "base_model.classifier.bias".to_string();
    assert!(prompt.tensors.remove(&key).is_some());
    let error = case.base.clone().load_adapter("a", &prompt, &case.names);
    assert_eq!(error.unwrap_err(), Error::MissingKey { key });
}

#[test]
fn the_head_of_a_prompt_belongs_to_it() {
    let case = bert(&Device::flex());
    let base = (case.logits)(&case.base);
    let file = AdapterFolder::read(folder("bert/prompt_tuning")).unwrap();
    let model = case.base.clone().load_adapter("prompt", &file, &case.names);
    let model = model.unwrap();
    assert_eq!(model.adapter_names(), ["prompt"]);
    assert_ne!((case.logits)(&model), base);
    assert_eq!(
        model.update_folder("prompt", &file, &case.names).unwrap(),
        file
    );
    assert_eq!(
        (case.logits)(&model.clone().with_adapters_enabled(false)),
        base
    );
    assert_eq!((case.logits)(&model.clone().unload()), base);
    assert_eq!(
        (case.logits)(&model.clone().without_adapter("prompt").unwrap()),
        base
    );
    // As in PEFT, a model's adapters are of one method.
    let error = model.load_adapter("a", &case.folder("head_a"), &case.names);
    assert!(matches!(error, Err(Error::OtherMethod { .. })));
}

/// Moves what trains.
struct Train;

impl ModuleMapper for Train {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !param.is_require_grad() {
            return param;
        }
        param.map(|value| (value + 0.25).detach().require_grad())
    }
}

#[test]
fn training_moves_the_active_adapter_alone() {
    let case = bert(&Device::flex().autodiff());
    // Frozen, as it is under the adapters: what trains goes through other operations.
    let base = (case.logits)(&case.base.clone().no_grad());
    let mut model = case.base.clone();
    for name in ["head_b", "pissa", "biases", "head_a"] {
        model = case.load(model, name);
    }
    // Query and value of two layers at rank 2, and a head of 3 classes; frozen it has been copied.
    let trained = 2 * 2 * 2 * (32 + 32) + 3 * 32 + 3;
    assert_eq!(model.trainable().trainable, trained);
    let model = model.map(&mut Train);
    let after = (case.logits)(&model);
    let only = |name: &str| model.clone().with_active_adapters(&[(name, 1.0)]).unwrap();
    for name in ["head_b", "pissa", "biases"] {
        let other = only(name);
        case.checked(&other, name);
        let file = case.folder(name);
        assert_eq!(other.update_folder(name, &file, &case.names).unwrap(), file);
        assert_eq!(model.update_folder(name, &file, &case.names).unwrap(), file);
        let again = other.with_active_adapters(&[("head_a", 1.0)]).unwrap();
        assert_eq!((case.logits)(&again), after);
        assert_eq!(again.trainable().trainable, trained);
    }
    assert_eq!((case.logits)(&model.clone().unload()), base);
    // What was trained is written, and read again.
    let config = case.folder("head_a").config;
    let written = model.save_adapter("head_a", &config, &case.names).unwrap();
    assert_ne!(written.tensors, case.folder("head_a").tensors);
    let again = only("pissa").load_adapter("again", &written, &case.names);
    // Factors from a file lie in memory the other way round, which changes the last digits.
    let error = relative(&(case.logits)(&again.unwrap()), &after);
    assert!(error < TOLERANCE, "{error:e}");
}

#[test]
fn adapters_with_the_same_head_are_not_mixed() {
    let case = bert(&Device::flex());
    let mut model = case.base.clone();
    for name in ["head_a", "head_b", "plain", "pissa"] {
        model = case.load(model, name);
    }
    let error = model
        .clone()
        .with_active_adapters(&[("head_a", 0.5), ("head_b", 0.5)])
        .unwrap_err();
    let Error::SeveralOwners { adapters, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(adapters, &["head_a", "head_b"]);
    // Others are, and the sum is what merging makes of it.
    for mixture in [
        [("head_a", 1.0), ("plain", 0.5)],
        [("plain", -0.5), ("head_b", 2.0)],
        [("pissa", 0.5), ("head_a", 1.0)],
    ] {
        let mixed = model.clone().with_active_adapters(&mixture).unwrap();
        let logits = (case.logits)(&mixed);
        let merged = mixed.clone().merge_and_unload().unwrap();
        let error = relative(&(case.logits)(&merged), &logits);
        assert!(error < TOLERANCE, "{mixture:?}: {error:e}");
        let back = mixed.with_active_adapters(&[("pissa", 1.0)]).unwrap();
        case.checked(&back, "pissa");
    }
    // Nothing of the part that PiSSA took out is left at a factor of 0.
    let none = model
        .clone()
        .with_active_adapters(&[("pissa", 0.0)])
        .unwrap();
    let error = relative(&(case.logits)(&none), case.expected.values("base"));
    assert!(error < TOLERANCE, "{error:e}");
    for (active, expected) in [
        (vec![("plain", f64::NAN)], "NaN"),
        (vec![("plain", f64::INFINITY)], "inf"),
        (vec![("plain", 1.0), ("plain", 0.5)], "twice"),
    ] {
        let error = model.clone().with_active_adapters(&active).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn records_hold_every_adapter_and_fit_models_in_the_same_state() {
    let case = bert(&Device::flex());
    let load = || {
        let model = case.load(case.base.clone(), "head_a");
        case.load(model, "head_b")
    };
    let only = |model: Bert, name: &str| model.with_active_adapters(&[(name, 1.0)]).unwrap();
    let trained = load().map(&mut Shift);
    let record = only(trained.clone(), "head_a").into_record();
    let read = only(load(), "head_a").load_record(record);
    for name in ["head_a", "head_b"] {
        let [found, expected] = [&read, &trained].map(|model| only(model.clone(), name));
        assert_eq!((case.logits)(&found), (case.logits)(&expected), "{name}");
    }
    let [found, expected] = [read, trained].map(Peft::unload);
    assert_eq!((case.logits)(&found), (case.logits)(&expected));
    // With another adapter in use the parameters are at other places: nothing is exchanged.
    let record = only(load(), "head_a").into_record();
    assert!(only(load(), "head_b").try_load_record(record).is_err());
}

/// Adds a tenth to all parameters.
struct Shift;

impl ModuleMapper for Shift {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| value + 0.1)
    }
}
