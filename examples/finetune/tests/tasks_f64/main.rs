//! Losses, gradients and updates of heads of every kind against `transformers` and `peft`, in f64.
//!
//! `scripts/make_tasks.py` made the folders. A device takes its precision once per process, so this is a test program of
//! its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Once;

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, FloatDType, Int, Tensor, TensorData};
use burn_ief::Tape;
use burn_ief::jacobian::{Jacobian, RecordedBatch};
use burn_ief::methods::{Ef, Ief, Sf, System, UpdateRule};
use burn_ief::solve::{DampedMatrix, Damping};
use burn_peft::AdapterFolder;
use finetune::config::{AdapterKind, Config};
use finetune::data::{LabelBatch, NumberScale, Task, TextBatch};
use finetune::model::{Destination, FineTune, HeadPlan, Judged, TextModel};
use finetune::problem::Problem;
use safetensors::{Dtype, SafeTensors};

/// Largest difference, relative to the length of the expected vector.
const TOLERANCE: f64 = 1e-9;
const LAMBDA: f64 = 1e-3;

const ENCODERS: [(&str, &str); 4] = [
    ("bert", "bert"),
    ("roberta", "families/roberta_base"),
    ("distilbert", "families/distilbert"),
    ("modernbert", "families/modernbert_base"),
];
const PROBLEMS: [(&str, Task); 4] = [
    ("single_label_classification", Task::Csv),
    ("multi_label_classification", Task::MultiLabel),
    ("regression", Task::Regression),
    ("tokens", Task::TokenClassification),
];

fn device() -> Device {
    static PRECISION: Once = Once::new();
    let mut device = Device::flex();
    PRECISION.call_once(|| {
        device
            .configure(FloatDType::F64)
            .expect("before the first tensor")
    });
    device
}

/// What Python computed.
struct Golden(BTreeMap<String, (Vec<usize>, Vec<f64>)>);

impl Golden {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let all = tensors.iter().map(|(name, view)| {
            let values = view.data().chunks_exact(8).map(|bytes| {
                let bytes: [u8; 8] = bytes.try_into().unwrap();
                match view.dtype() {
                    Dtype::F64 => f64::from_le_bytes(bytes),
                    Dtype::I64 => i64::from_le_bytes(bytes) as f64,
                    other => panic!("{name} is {other:?}"),
                }
            });
            (name.to_string(), (view.shape().to_vec(), values.collect()))
        });
        Self(all.collect())
    }

    fn values(&self, name: &str) -> &[f64] {
        &self.0[name].1
    }

    fn whole<const D: usize>(&self, name: &str) -> Tensor<D, Int> {
        let (shape, values) = &self.0[name];
        let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
        Tensor::from_data(TensorData::new(values, shape.clone()), &device().autodiff())
    }

    fn labels(&self, name: &str, problem: Problem) -> LabelBatch {
        match problem {
            Problem::MultiLabel => LabelBatch::Sets(self.whole(name)),
            Problem::Tokens => LabelBatch::Tags(self.whole(name)),
            Problem::Regression => {
                let (shape, values) = &self.0[name];
                let data = TensorData::new(values.clone(), shape.clone());
                LabelBatch::Numbers(Tensor::from_data(data, &device().autodiff()))
            }
            _ => LabelBatch::Classes(self.whole(name)),
        }
    }

    fn batch(&self, labels: &str, problem: Problem) -> TextBatch {
        let ids: Tensor<2, Int> = self.whole("input.input_ids");
        TextBatch {
            types: ids.zeros_like(),
            mask: self.whole("input.attention_mask"),
            labels: self.labels(labels, problem),
            ids,
        }
    }
}

/// One encoder with one head.
struct Case {
    name: String,
    golden: Golden,
    config: Config,
    problem: Problem,
    model: TextModel,
}

impl Case {
    fn open(encoder: &str, base: &str, problem: &str, task: Task) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let name = format!("{encoder}_{problem}");
        let folder: PathBuf = root.join("tests/tasks_f64/fixtures").join(&name);
        let base = root.join("../models/tests/fixtures").join(base);
        let mut config = Config {
            task: Some(task),
            ..Config::default()
        };
        config.adapter.kind = AdapterKind::Lora;
        config.adapter.from = Some(folder.join("adapter"));
        config.model.folder = Some(base.clone());
        config.data.max_length = Some(8);
        let golden = Golden::read(&folder.join("golden.safetensors"));
        let plan = HeadPlan {
            problem: task.problem(),
            outputs: *golden.0["logits"].0.last().unwrap(),
            scale: NumberScale::default(),
        };
        let model = TextModel::load(&config, &base, plan, &device().autodiff()).unwrap();
        Self {
            name,
            golden,
            config,
            problem: task.problem(),
            model,
        }
    }

    fn record(&self, labels: &str) -> RecordedBatch {
        let tape = Tape::start();
        let loss = self.model.loss(&self.golden.batch(labels, self.problem));
        RecordedBatch::collect(tape, loss.backward(), &self.model, None).unwrap()
    }

    fn close(&self, name: &str, found: &[f64]) {
        self.compare(name, self.golden.values(name), found);
    }

    fn compare(&self, name: &str, expected: &[f64], found: &[f64]) {
        assert_eq!(expected.len(), found.len(), "{} {name}", self.name);
        let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
        let difference = norm(&mut expected.iter().zip(found).map(|(a, b)| a - b));
        let error = difference / norm(&mut expected.iter().copied());
        println!("{} {name} {error:.1e}", self.name);
        assert!(error < TOLERANCE, "{} {name}: {error:e}", self.name);
    }

    /// Compare a direction under PEFT's keys: it takes the place of the parameters and is written.
    fn near(&self, name: &str, direction: &GradientsParams) {
        let moved = self.model.clone().map(&mut Put(direction));
        let place = tempfile::tempdir().unwrap();
        let labels: Vec<String> = Vec::new();
        moved
            .save(&Destination::new(place.path(), &self.config, &labels))
            .unwrap();
        let written = AdapterFolder::read(place.path().join("adapter"))
            .unwrap()
            .tensors;
        let prefix = format!("{name}.");
        let expected = self.golden.0.iter().filter_map(|(key, (_, values))| {
            Some((key.strip_prefix(&prefix)?.to_string(), values))
        });
        let expected: BTreeMap<String, &Vec<f64>> = expected.collect();
        let keys: Vec<&String> = written.keys().collect();
        assert_eq!(keys, expected.keys().collect::<Vec<_>>(), "{}", self.name);
        let found: Vec<f64> = written
            .into_values()
            .flat_map(|data| data.try_into_vec::<f64>().unwrap())
            .collect();
        let expected: Vec<f64> = expected.into_values().flatten().copied().collect();
        self.compare(name, &expected, &found);
    }

    fn check(&self) {
        let batch = self.golden.batch("labels", self.problem);
        let logits = self.model.outputs(&batch);
        let logits: Vec<f64> = logits.into_data().iter::<f64>().collect();
        let mask = self.golden.values("input.attention_mask");
        let width = logits.len() / mask.len();
        let is_token = |at: usize| self.problem != Problem::Tokens || mask[at / width] == 1.0;
        let of = |values: &[f64]| -> Vec<f64> {
            let values = values.iter().enumerate();
            let tokens = values.filter(|(at, _)| is_token(*at));
            tokens.map(|(_, value)| *value).collect()
        };
        self.compare("logits", &of(self.golden.values("logits")), &of(&logits));
        let losses = self.golden.values("losses");
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        let loss = self
            .model
            .loss(&batch)
            .into_data()
            .iter::<f64>()
            .next()
            .unwrap();
        self.compare("the mean loss of a row", &[mean], &[loss]);
        self.reported(&batch, loss);

        let truth = self.record("labels");
        let s = truth.output_norms().unwrap();
        self.close("s", &s);
        let jacobian = truth.jacobian();
        let samples = jacobian.samples();
        self.near("grad", &jacobian.t_matvec(&vec![1.0; samples]).unwrap());
        let gram = jacobian.gram().unwrap();
        let drawn = self.record("drawn");
        let rows = Jacobian::stack([truth.jacobian(), drawn.jacobian()]).unwrap();
        let both = rows.gram().unwrap();
        let damping = Damping::absolute(LAMBDA).without_floor();
        let system = || {
            System::from_gram(gram.clone(), samples)
                .with_damping(damping.on(DampedMatrix::Gram))
                .with_epsilon(jacobian.gram_epsilon())
        };
        let solved = |rule: &dyn UpdateRule, system: System<'_>| {
            rule.solve(&system)
                .unwrap()
                .into_coefficients()
                .unwrap()
                .values
        };
        let ef = solved(&Ef::default(), system());
        self.near("ef", &jacobian.t_matvec(&ef).unwrap());
        let ief = solved(&Ief::default(), system().with_output_norms(s.clone()));
        self.near("ief", &jacobian.t_matvec(&ief).unwrap());
        let [own, other] = ["labels", "drawn"].map(|name| self.golden.values(name));
        let width = own.len() / samples;
        let matches = own.chunks(width).zip(other.chunks(width));
        let drawn = System::from_gram(both, samples)
            .with_label_matches(matches.map(|(own, other)| own == other).collect())
            .with_damping(damping)
            .with_epsilon(jacobian.gram_epsilon());
        let sf = solved(&Sf::default(), drawn);
        self.near("sf", &rows.t_matvec(&sf).unwrap());
    }

    /// The loss that `transformers` reports, from the mean loss of a row.
    fn reported(&self, batch: &TextBatch, loss: f64) {
        let rows = batch.ids.dims()[0] as f64;
        let expected = match (&batch.labels, self.problem) {
            // A mean over all cells.
            (LabelBatch::Sets(sets), _) => loss / sets.dims()[1] as f64,
            // Without the half.
            (_, Problem::Regression) => 2.0 * loss,
            (LabelBatch::Tags(_), _) => {
                let tags = self.golden.values("labels");
                let words = tags.iter().filter(|tag| **tag >= 0.0).count();
                loss * rows / words as f64
            }
            _ => loss,
        };
        self.close("loss", &[expected]);
    }
}

/// Gives trainable parameters the values of a direction.
struct Put<'a>(&'a GradientsParams);

impl ModuleMapper for Put<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.0.get::<D>(param.id) {
            Some(value) => param.map(|_| value.autodiff().require_grad()),
            None => param,
        }
    }
}

#[test]
fn losses_gradients_and_updates_are_those_of_python() {
    for (encoder, base) in ENCODERS {
        for (problem, task) in PROBLEMS {
            Case::open(encoder, base, problem, task).check();
        }
    }
}
