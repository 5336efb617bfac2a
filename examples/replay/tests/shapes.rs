//! Networks of other widths, depths, ranks and head counts than the reference cases have: the
//! gradients agree with differences of the losses, whatever the shapes.

use std::collections::{BTreeMap, HashMap};

use replay::{
    Array, Case, DeviceKind, Error, Place, Precision, Results, Selection, Shards, Values, golden,
};

/// Tensors of a case with reproducible entries.
#[derive(Clone, Default)]
struct Builder {
    tensors: BTreeMap<String, Array>,
    metadata: HashMap<String, String>,
}

/// The fractional part of a large product: no pattern, and the same everywhere.
fn entry(seed: usize, k: usize) -> f64 {
    let x = ((seed * 7919 + k * 104_729 + 13) as f64).sin() * 43_758.545_312_3;
    2.0 * (x - x.floor()) - 1.0
}

impl Builder {
    fn new(case: &str, samples: usize, classes: usize) -> Self {
        let mut builder = Self::default();
        builder.set("case", case);
        builder.set("loss", "softmax_cross_entropy");
        builder.set("lams", "[\"1e-3\"]");
        for (name, shift) in [("labels", 0), ("labels_sampled", 1)] {
            let labels = (0..samples).map(|n| ((n * n + shift * n) % classes) as i64);
            builder.insert(name, vec![samples], Values::Int(labels.collect()));
        }
        builder
    }

    fn set(&mut self, key: &str, value: &str) {
        self.metadata.insert(key.into(), value.into());
    }

    fn insert(&mut self, name: &str, shape: Vec<usize>, values: Values) {
        self.tensors.insert(name.into(), Array { shape, values });
    }

    /// Entries around `center`, within `size`.
    fn floats(&mut self, name: &str, shape: &[usize], center: f64, size: f64) {
        let seed = self.tensors.len();
        let count = shape.iter().product();
        let values = (0..count).map(|k| center + size * entry(seed, k));
        self.insert(name, shape.to_vec(), Values::Float(values.collect()));
    }

    fn linear(&mut self, name: &str, d_output: usize, d_input: usize) {
        self.floats(&format!("{name}.weight"), &[d_output, d_input], 0.0, 0.7);
        self.floats(&format!("{name}.bias"), &[d_output], 0.0, 0.3);
    }

    /// A transformer, its weights in `group`, with LoRA of a rank on the linear layers named.
    fn transformer(&mut self, group: &str, blocks: usize, lora: &[&str], rank: usize) {
        const WIDTH: usize = 6;
        const INNER: usize = 12;
        const HIDDEN: usize = 5;
        let norm = |builder: &mut Self, name: &str| {
            builder.floats(&format!("{group}.{name}.weight"), &[WIDTH], 1.0, 0.2);
            builder.floats(&format!("{group}.{name}.bias"), &[WIDTH], 0.0, 0.2);
        };
        self.floats(&format!("{group}.emb.weight"), &[9, WIDTH], 0.0, 1.0);
        for block in 0..blocks {
            norm(self, &format!("blocks.{block}.ln1"));
            norm(self, &format!("blocks.{block}.ln2"));
            for (layer, d_output, d_input) in [
                ("q", INNER, WIDTH),
                ("k", INNER, WIDTH),
                ("v", INNER, WIDTH),
                ("o", WIDTH, INNER),
                ("ff1", HIDDEN, WIDTH),
                ("ff2", WIDTH, HIDDEN),
            ] {
                let name = format!("blocks.{block}.{layer}");
                if lora.contains(&layer) {
                    self.linear(&format!("{group}.{name}.base"), d_output, d_input);
                    self.floats(&format!("param.{name}.lora_A"), &[rank, d_input], 0.0, 0.6);
                    self.floats(&format!("param.{name}.lora_B"), &[d_output, rank], 0.0, 0.6);
                } else {
                    self.linear(&format!("{group}.{name}"), d_output, d_input);
                }
            }
        }
        norm(self, "lnf");
        self.linear(&format!("{group}.head"), 3, WIDTH);
        let ids = [3, 1, 8, 2, 5, 5, 0, 0, 7, 4, 0, 0, 6, 0, 0, 0];
        self.insert("input.ids", vec![4, 4], Values::Int(ids.into()));
        let mask = ids.map(|id| f64::from(u8::from(id != 0)));
        self.insert("input.mask", vec![4, 4], Values::Float(mask.into()));
    }

    fn run(&self, only: &str) -> Result<Results, Error> {
        let case = Case::new(self.metadata.clone(), self.tensors.clone())?;
        let place = Place::open(DeviceKind::Flex, Precision::F64)?;
        golden(&case, &place, Selection::parse(only)?, &Shards::default())
    }

    fn parameters(&self) -> Vec<String> {
        let names = self.tensors.keys();
        names
            .filter_map(|name| name.strip_prefix("param.").map(str::to_string))
            .collect()
    }

    fn values(&mut self, name: &str) -> &mut Vec<f64> {
        match &mut self.tensors.get_mut(name).unwrap().values {
            Values::Float(values) => values,
            Values::Int(_) => panic!("{name} holds integers"),
        }
    }

    fn summed_loss(&self) -> f64 {
        let results = self.run("losses").unwrap();
        results.get("losses").unwrap().values.iter().sum()
    }

    /// The derivative of the summed loss along a direction in every parameter, twice.
    fn check(&self) {
        let results = self.run("grad,gram,ef,ief,sf").unwrap();
        for name in self.parameters() {
            let gradient = &results.get(&format!("grad.{name}")).unwrap().values;
            let direction: Vec<f64> = (0..gradient.len()).map(|k| entry(99, k)).collect();
            let products = gradient.iter().zip(&direction).map(|(g, d)| g * d);
            let expected: f64 = products.sum();
            let at = |step: f64| {
                let mut moved = self.clone();
                let values = moved.values(&format!("param.{name}"));
                values
                    .iter_mut()
                    .zip(&direction)
                    .for_each(|(x, d)| *x += step * d);
                moved.summed_loss()
            };
            // Fourth order, and too short to cross a kink of ReLU or of max pooling; what is left is
            // rounding, about 1e-15 / 1e-5.
            let slope = |h: f64| (at(h) - at(-h)) / (2.0 * h);
            let found = (4.0 * slope(1e-5) - slope(2e-5)) / 3.0;
            let error = (found - expected).abs();
            assert!(error < 1e-8, "{name}: {found} by differences, {expected}");
        }
    }
}

#[test]
fn mlps_of_any_depth() {
    for widths in [vec![4, 3], vec![3, 7, 6, 5, 4]] {
        let mut case = Builder::new("c_mlp_wide", 5, *widths.last().unwrap());
        for (k, pair) in widths.windows(2).enumerate() {
            case.linear(&format!("param.fc{}", k + 1), pair[1], pair[0]);
        }
        case.floats("input.x", &[5, widths[0]], 0.0, 1.0);
        case.check();
    }
}

#[test]
fn frozen_layers_take_no_part() {
    let mut case = Builder::new("c_mlp", 5, 3);
    case.linear("frozen.fc1", 6, 4);
    case.linear("param.fc2", 3, 6);
    case.floats("input.x", &[5, 4], 0.0, 1.0);
    case.check();
    let results = case.run("grad").unwrap();
    let names: Vec<&str> = results.names().collect();
    assert_eq!(names, ["grad.fc2.bias", "grad.fc2.weight", "grad_norms"]);
}

#[test]
fn transformers_of_any_depth_and_head_count() {
    let mut case = Builder::new("e_transformer_full", 4, 3);
    case.transformer("param", 2, &[], 0);
    case.set("heads", "3");
    case.check();
    let three = case.run("logits").unwrap();
    case.set("heads", "4");
    case.check();
    let four = case.run("logits").unwrap();
    assert_ne!(three.get("logits"), four.get("logits"));
}

#[test]
fn lora_of_any_rank_scales_by_alpha_over_the_rank() {
    let adapted = ["q", "k", "v", "ff1"];
    let mut case = Builder::new("e_transformer_lora", 4, 3);
    case.transformer("frozen", 2, &adapted, 3);
    case.check();
    // Twice alpha is twice B; without metadata, alpha is 4.
    let mut doubled = case.clone();
    doubled.set("lora_alpha", "8");
    doubled.check();
    for name in doubled
        .parameters()
        .iter()
        .filter(|name| name.ends_with("lora_B"))
    {
        doubled
            .values(&format!("param.{name}"))
            .iter_mut()
            .for_each(|x| *x /= 2.0);
    }
    let [one, other] = [&case, &doubled].map(|case| case.run("logits").unwrap());
    let pairs = one.get("logits").unwrap().values.iter();
    for (a, b) in pairs.zip(&other.get("logits").unwrap().values) {
        assert!((a - b).abs() < 1e-13, "{a} {b}");
    }
}

#[test]
fn prompts_of_any_length() {
    for length in [1, 5] {
        let mut case = Builder::new("e_transformer_prompt", 4, 3);
        case.transformer("frozen", 2, &[], 0);
        case.floats("param.prompt", &[length, 6], 0.0, 1.0);
        case.check();
    }
}

#[test]
fn cnns_of_any_channels_and_image_size() {
    let mut case = Builder::new("f_cnn_wide", 5, 4);
    case.floats("input.x", &[5, 2, 9, 6], 0.0, 1.0);
    case.floats("param.conv1.weight", &[3, 2, 3, 3], 0.0, 0.6);
    case.floats("param.conv1.bias", &[3], 0.0, 0.2);
    case.floats("param.conv2.weight", &[5, 3, 3, 3], 0.0, 0.6);
    case.floats("param.conv2.bias", &[5], 0.0, 0.2);
    case.linear("param.fc", 4, 5);
    case.check();
}

#[test]
fn more_samples_than_parameters() {
    // SF is then solved in the parameters.
    let mut case = Builder::new("c_mlp", 9, 2);
    case.linear("param.fc1", 2, 2);
    case.floats("input.x", &[9, 2], 0.0, 1.0);
    case.check();
}
