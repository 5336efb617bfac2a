//! EF, iEF and SF of adapted models against PyTorch, in f64. A process of its own: the precision
//! of a device is set once.

use crate::reference;

use std::collections::BTreeMap;

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Device, Tensor};
use burn_hf_models::bert::{BertForSequenceClassification, BertInput};
use burn_hf_models::vit::{ViTForImageClassification, ViTInput};
use burn_ief::jacobian::{Jacobian, RecordedBatch};
use burn_ief::methods::{Ef, Ief, Sf, System, UpdateRule};
use burn_ief::solve::{DampedMatrix, Damping};
use burn_ief::{LossScale, Tape};
use burn_peft::{AdapterFolder, NameMap, Peft, PeftConfig, SoftPrompt};
use reference::{Tensors, device_f64, folder};

/// The bar of the reference vectors, relative to the length of each.
const TOLERANCE: f64 = 1e-9;
const LAMBDAS: [(&str, f64); 4] = [
    ("1.0", 1.0),
    ("1e-3", 1e-3),
    ("1e-7", 1e-7),
    ("1e-12", 1e-12),
];

/// The values of a direction by key.
type Keyed<M> = Box<dyn Fn(&M, &GradientsParams) -> BTreeMap<String, Vec<f64>>>;

/// An adapted model and its batch.
struct Setup<M> {
    name: &'static str,
    model: M,
    /// A direction under the keys of the expected one, in PEFT's layout.
    keyed: Keyed<M>,
    logits: Box<dyn Fn(&M) -> Tensor<2>>,
    expected: Tensors,
    device: Device,
}

impl<M: Module> Setup<M> {
    fn record(&self, labels: &str) -> RecordedBatch {
        let labels = self
            .expected
            .ids::<1>(labels, &self.device)
            .unsqueeze_dim(1);
        let tape = Tape::start().with_loss_scale(LossScale::Sum);
        let logits = burn_ief::mark_output((self.logits)(&self.model));
        let losses = log_softmax(logits.clone(), 1).gather(1, labels).neg();
        let grads = losses.sum().backward();
        RecordedBatch::collect(tape, grads, &self.model, None).unwrap()
    }

    fn check(&self) {
        let truth = self.record("labels");
        let s = truth.output_norms().unwrap();
        self.close("s", &s);
        let jacobian = truth.jacobian();
        let samples = jacobian.samples();
        self.close("grad_norms", &jacobian.row_norms());
        self.near("grad", &jacobian.t_matvec(&vec![1.0; samples]).unwrap());
        let gram = jacobian.gram().unwrap();
        self.close("gram", gram.values());
        let drawn = self.record("labels_sampled");
        let rows = Jacobian::stack([truth.jacobian(), drawn.jacobian()]).unwrap();
        let both = rows.gram().unwrap();
        let labels = |name| self.expected.values(name).to_vec();
        let (own, other) = (labels("labels"), labels("labels_sampled"));
        let matches: Vec<bool> = own.iter().zip(&other).map(|(a, b)| a == b).collect();
        for (text, lambda) in LAMBDAS {
            let damping = Damping::absolute(lambda).without_floor();
            let epsilon = jacobian.gram_epsilon();
            let system = || {
                System::from_gram(gram.clone(), samples)
                    .with_damping(damping.on(DampedMatrix::Gram))
                    .with_epsilon(epsilon)
            };
            let solved = |rule: &dyn UpdateRule, system: System<'_>| {
                rule.solve(&system).unwrap().into_coefficients().unwrap()
            };
            let ef = solved(&Ef::default(), system());
            let ef = jacobian.t_matvec(&ef.values).unwrap();
            self.near(&format!("ef.lam_{text}"), &ef);
            let ief = solved(&Ief::default(), system().with_output_norms(s.clone()));
            let ief = jacobian.t_matvec(&ief.values).unwrap();
            self.near(&format!("ief.lam_{text}"), &ief);
            let drawn = System::from_gram(both.clone(), samples)
                .with_label_matches(matches.clone())
                .with_damping(damping)
                .with_epsilon(epsilon);
            let sf = solved(&Sf::default(), drawn);
            let sf = rows.t_matvec(&sf.values).unwrap();
            self.near(&format!("sf.lam_{text}"), &sf);
        }
    }

    fn close(&self, name: &str, found: &[f64]) {
        let expected = self.expected.values(name);
        let error = distance(expected, found);
        assert!(error < TOLERANCE, "{} {name}: {error:e}", self.name);
    }

    fn near(&self, name: &str, direction: &GradientsParams) {
        let found = (self.keyed)(&self.model, direction);
        let expected = self.expected.under(name);
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>()
        );
        let found: Vec<f64> = found.into_values().flatten().collect();
        let expected: Vec<f64> = expected.into_values().flatten().collect();
        let error = distance(&expected, &found);
        println!("{} {name} {error:.1e}", self.name);
        assert!(error < TOLERANCE, "{} {name}: {error:e}", self.name);
    }
}

/// The keys of a folder.
fn in_folder<M: Module>(folder: AdapterFolder, names: Vec<NameMap>) -> Keyed<M> {
    Box::new(move |model, direction| {
        let mut written = reference::in_folder(model, direction, &folder, &names);
        // Shared matrices do not train.
        written.retain(|key, _| !key.starts_with("base_model.vera_"));
        written
    })
}

/// Relative to the length of the expected vector.
fn distance(expected: &[f64], found: &[f64]) -> f64 {
    assert_eq!(expected.len(), found.len());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut expected.iter().zip(found).map(|(a, b)| a - b));
    difference / norm(&mut expected.iter().copied())
}

fn adapter(path: &str) -> AdapterFolder {
    let mut peft = AdapterFolder::read(folder(path)).unwrap();
    // Directions are compared in f64.
    for data in peft.tensors.values_mut() {
        *data = data.clone().convert_dtype(DType::F64);
    }
    peft
}

#[test]
fn adapters_match_pytorch() {
    let device = device_f64().autodiff();
    let golden = Tensors::read("bert/golden.safetensors");
    for name in [
        "lora",
        "dora",
        "lora_seqcls",
        "vera",
        "loha",
        "lokr",
        "tokens_named",
    ] {
        let peft = adapter(&format!("bert/{name}"));
        let options = BertForSequenceClassification::load_options();
        let names = BertForSequenceClassification::names();
        let model =
            BertForSequenceClassification::load(&folder("bert"), &options, &device).unwrap();
        let model = model.load_adapter("default", &peft, &names).unwrap();
        let [ids, mask, types] = ["input_ids", "attention_mask", "token_type_ids"]
            .map(|input| golden.ids(&format!("input.{input}"), &device));
        let setup = Setup {
            name,
            model,
            keyed: in_folder(peft, names),
            logits: Box::new(move |model: &BertForSequenceClassification| {
                let input = BertInput::new(ids.clone())
                    .with_attention_mask(mask.clone())
                    .with_token_type_ids(types.clone());
                model.forward(input).unwrap().logits
            }),
            expected: Tensors::read(&format!("bert/{name}_updates.safetensors")),
            device: device.clone(),
        };
        setup.check();
    }

    let golden = Tensors::read("vit/golden.safetensors");
    let images = golden.floats::<4>("input.pixel_values", &device);
    let peft = adapter("vit/lora");
    let options = ViTForImageClassification::load_options();
    let names = ViTForImageClassification::names();
    let model = ViTForImageClassification::load(&folder("vit"), &options, &device).unwrap();
    let setup = Setup {
        name: "vit lora",
        model: model.load_adapter("default", &peft, &names).unwrap(),
        keyed: in_folder(peft, names),
        logits: Box::new(move |model: &ViTForImageClassification| {
            model.forward(ViTInput::new(images.clone())).unwrap().logits
        }),
        expected: Tensors::read("vit/lora_updates.safetensors"),
        device,
    };
    setup.check();
}

/// BERT with virtual tokens that a network makes, and a head that trains.
#[derive(Module, Debug)]
struct Tuned {
    prompt: SoftPrompt,
    model: BertForSequenceClassification,
}

impl Tuned {
    /// The prompt of this network, on the model of the folder `bert`.
    fn new(encoder: &Tensors, device: &Device) -> Self {
        let folder = adapter("bert/p_tuning");
        let PeftConfig::PTuning(config) = &folder.config else {
            panic!("another method");
        };
        let mut prompt = SoftPrompt::encoded(config, device).unwrap();
        let floats = |name: &str| encoder.floats::<2>(&format!("encoder.{name}"), device);
        let trained = |value: Tensor<2>| Param::from_tensor(value).set_require_grad(true);
        prompt.embeddings = trained(floats("embedding.weight"));
        let layers = prompt.encoder.as_mut().unwrap();
        let layers = [&mut layers.first, &mut layers.second, &mut layers.third];
        for (number, layer) in [0, 2, 4].into_iter().zip(layers) {
            layer.weight = trained(floats(&format!("mlp_head.{number}.weight")).transpose());
            let bias = encoder.floats::<1>(&format!("encoder.mlp_head.{number}.bias"), device);
            layer.bias = Some(Param::from_tensor(bias).set_require_grad(true));
        }
        let options = BertForSequenceClassification::load_options();
        let names = BertForSequenceClassification::names();
        let model = BertForSequenceClassification::load(&self::folder("bert"), &options, device);
        let model = model
            .unwrap()
            .load_adapter("default", &folder, &names)
            .unwrap();
        Self { prompt, model }
    }

    fn keyed(&self, direction: &GradientsParams) -> BTreeMap<String, Vec<f64>> {
        let two = |param: &Param<Tensor<2>>| direction.get::<2>(param.id).unwrap();
        let values = |tensor: Tensor<2>| tensor.into_data().try_into_vec::<f64>().unwrap();
        let mut keyed = BTreeMap::from([(
            "prompt_encoder.embedding.weight".into(),
            values(two(&self.prompt.embeddings)),
        )]);
        let encoder = self.prompt.encoder.as_ref().unwrap();
        for (name, layer) in [
            ("prompt_encoder.mlp_head.0", &encoder.first),
            ("prompt_encoder.mlp_head.2", &encoder.second),
            ("prompt_encoder.mlp_head.4", &encoder.third),
            ("base_model.classifier", &self.model.classifier),
        ] {
            let bias = direction.get::<1>(layer.bias.as_ref().unwrap().id).unwrap();
            keyed.insert(
                format!("{name}.weight"),
                values(two(&layer.weight).transpose()),
            );
            keyed.insert(format!("{name}.bias"), values(bias.unsqueeze()));
        }
        keyed
    }
}

/// The updates of table, network and head, and the tokens that a folder gets.
#[test]
fn p_tuning_matches_pytorch() {
    let device = device_f64().autodiff();
    let golden = Tensors::golden("bert");
    let case = Tensors::read("bert/p_tuning.safetensors");
    let model = Tuned::new(&case, &device);
    let [ids, mask, types] = ["input_ids", "attention_mask", "token_type_ids"]
        .map(|input| golden.ids::<2>(&format!("input.{input}"), &device));
    let logits = move |model: &Tuned| {
        let [samples, _] = ids.dims();
        let input = BertInput::new(ids.clone())
            .with_attention_mask(mask.clone())
            .with_token_type_ids(types.clone())
            .with_prompt(model.prompt.forward(samples));
        model.model.forward(input).unwrap().logits
    };
    case.compare(&logits(&model), "p_tuning.logits.f64", TOLERANCE);
    let grads = logits(&model).square().sum().backward();
    let gradient = model.keyed(&GradientsParams::from_grads(grads, &model));
    for (key, expected) in case.under("gradient") {
        let error = distance(&expected, &gradient[&key]);
        assert!(error < TOLERANCE, "{key}: {error:e}");
    }
    // A folder has the tokens; they are rounded to f32 in the one that PEFT wrote.
    let theirs = adapter("bert/p_tuning");
    let ours = model.prompt.to_folder(&theirs.config).unwrap();
    let [theirs, ours] = [theirs, ours].map(|folder| {
        let data = folder.tensors["prompt_embeddings"].clone();
        data.try_into_vec::<f64>().unwrap()
    });
    assert!(distance(&theirs, &ours) < 1e-6);
    let setup = Setup {
        name: "p_tuning",
        model,
        keyed: Box::new(Tuned::keyed),
        logits: Box::new(logits),
        expected: Tensors::read("bert/p_tuning_updates.safetensors"),
        device,
    };
    setup.check();
}
