//! The reference files, and distances from them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use replay::{Case, Place, Results, Selection, Shards};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

/// Everything that the program computes.
pub const EVERYTHING: &str = "logits,losses,s,gram,grad,imbalance,ef,ief,sf,ef_jd,ief_jd,ngd,fisher,gamma,fvp,ekfac,iekfac,kfac";

pub const CASES: [&str; 9] = [
    "a_linear_least_squares",
    "b_logistic_regression",
    "c_mlp",
    "d_mlp_duplicates",
    "e_transformer_full",
    "e_transformer_lora",
    "e_transformer_prompt",
    "f_cnn",
    "g_mlp_trained",
];

pub struct Tensor {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

/// A case, its expected results, and what was computed.
pub struct Replayed {
    pub case: Case,
    pub expected: BTreeMap<String, Tensor>,
    pub found: Results,
}

pub fn path(case: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    folder.join(format!("{case}.safetensors"))
}

pub fn replay(case: &str, place: &Place) -> Replayed {
    run(case, place, EVERYTHING, &Shards::default())
}

/// The joint results over shards, of names that start with one of `only`.
#[allow(dead_code)] // f64 only
pub fn replay_shards(case: &str, place: &Place, only: &str, shards: &Shards) -> Replayed {
    let mut replayed = run(case, place, only, shards);
    let selection = Selection::parse(only).unwrap();
    replayed.expected.retain(|name, _| selection.wants(name));
    replayed.check_names();
    replayed
}

/// Samples of a case.
#[allow(dead_code)] // f64 only
pub fn samples(case: &str) -> usize {
    let case = Case::read(&path(case)).unwrap();
    case.shape("labels").unwrap()[0]
}

fn run(case: &str, place: &Place, only: &str, shards: &Shards) -> Replayed {
    let path = path(case);
    let is_input = |name: &str| {
        let whole = ["labels", "labels_sampled", "axis", "theta"];
        let groups = ["input.", "param.", "frozen.", "fvp.v."];
        whole.contains(&name) || groups.iter().any(|group| name.starts_with(group))
    };
    let expected = tensors(&path, |name| !is_input(name));
    let case = Case::read(&path).unwrap();
    let selection = Selection::parse(only).unwrap();
    let found = replay::golden(&case, place, selection, shards).unwrap();
    Replayed {
        case,
        expected,
        found,
    }
}

/// Exact updates of a case whose own have fewer digits than the tests ask for.
#[allow(dead_code)] // f64 only
pub fn exact(case: &str) -> BTreeMap<String, Tensor> {
    let path = path(&format!("{case}_exact"));
    if path.exists() {
        tensors(&path, |_| true)
    } else {
        BTreeMap::new()
    }
}

/// The f64 tensors of these names.
fn tensors(path: &Path, wants: impl Fn(&str) -> bool) -> BTreeMap<String, Tensor> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let wanted = file.iter().filter(|(name, _)| wants(name));
    wanted
        .map(|(name, view)| {
            assert_eq!(view.dtype(), Dtype::F64, "{name}");
            let chunks = view.data().chunks_exact(8);
            let values = chunks.map(|chunk| f64::from_le_bytes(chunk.try_into().unwrap()));
            let tensor = Tensor {
                shape: view.shape().to_vec(),
                values: values.collect(),
            };
            (name.to_string(), tensor)
        })
        .collect()
}

/// ‖a − b‖ / ‖b‖. Entries that are not finite in b must not be so in a, and count no further.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let (mut difference, mut size) = (0.0f64, 0.0f64);
    for (a, b) in a.iter().zip(b) {
        if b.is_finite() {
            difference += (a - b).powi(2);
            size += b.powi(2);
        } else {
            assert!(!a.is_finite(), "{a} in the place of {b}")
        }
    }
    if difference == 0.0 {
        0.0
    } else {
        (difference / size).sqrt()
    }
}

impl Replayed {
    /// The names and shapes are those of the reference.
    pub fn check_names(&self) {
        let found: Vec<&str> = self.found.names().collect();
        let expected: Vec<&str> = self.expected.keys().map(String::as_str).collect();
        assert_eq!(found, expected);
        for (name, tensor) in &self.expected {
            assert_eq!(self.found.get(name).unwrap().shape, tensor.shape, "{name}");
        }
    }

    /// Results as whole vectors: the parts of an update for all parameters under one name.
    pub fn vectors(&self) -> BTreeMap<String, (Vec<f64>, Vec<f64>)> {
        let mut vectors: BTreeMap<String, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
        for (name, tensor) in &self.expected {
            let parameter = |p: &String| name.strip_suffix(p.as_str())?.strip_suffix('.');
            let whole = self.case.order.iter().find_map(parameter).unwrap_or(name);
            let (found, expected) = vectors.entry(whole.to_string()).or_default();
            found.extend(&self.found.get(name).unwrap().values);
            expected.extend(&tensor.values);
        }
        vectors
    }

    /// Number of points of the grid; 1 for other cases.
    pub fn points(&self) -> usize {
        if self.case.kind.is_grid() {
            self.expected["losses"].shape[..2].iter().product()
        } else {
            1
        }
    }
}
