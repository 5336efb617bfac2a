//! An embedding table that is the output head as well.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use burn_ief::jacobian::{Jacobian, RecordedBatch};
use burn_ief::{LossScale, Tape};
use burn_peft::{Error, ForwardAdapted, LoraConfig, NameMap, Peft, unembed_adapted};

#[derive(Module, Debug)]
struct Net {
    table: Embedding,
    inner: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        Self {
            table: EmbeddingConfig::new(7, 4).init(device),
            inner: LinearConfig::new(4, 4).init(device),
        }
    }

    /// `[M, T]` ids to `[M, T, 7]` logits.
    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let x = self.table.forward_adapted(ids);
        unembed_adapted(&self.table, self.inner.forward_adapted(x))
    }
}

fn names() -> [NameMap; 1] {
    [NameMap::new().with_tied_head("lm_head", "table")]
}

fn ids(device: &Device) -> Tensor<2, Int> {
    Tensor::from_data([[0, 3, 6], [1, 1, 2], [5, 4, 3], [6, 0, 2]], device)
}

/// Moves what trains.
struct Shake;

impl ModuleMapper for Shake {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !param.is_require_grad() {
            return param;
        }
        param.map(|value| {
            let noise = value.random_like(Distribution::Normal(0.0, 0.3));
            (value + noise).detach().require_grad()
        })
    }
}

fn values(x: Tensor<3>) -> Vec<f32> {
    x.into_data().iter().collect()
}

fn far(a: &[f32], b: &[f32]) -> f32 {
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max)
}

fn lora(targets: &[&str]) -> LoraConfig {
    LoraConfig::new()
        .with_r(2)
        .with_target_modules(targets.iter().copied())
}

/// Configurations that change the look-up, the head, or both.
fn configs() -> [LoraConfig; 7] {
    [
        lora(&["inner"]).with_modules_to_save(["table"]),
        lora(&["inner"]).with_modules_to_save(["lm_head"]),
        lora(&["inner"]).with_modules_to_save(["table", "lm_head"]),
        lora(&["inner", "lm_head"]),
        lora(&["inner", "table"]),
        lora(&["table", "lm_head"]),
        lora(&["table"]).with_modules_to_save(["lm_head"]),
    ]
}

#[test]
fn rows_match_one_backward_per_sample() {
    let device = Device::flex().autodiff();
    device.seed(1);
    for config in configs() {
        let net = Net::new(&device).adapt("a", &config, &names()).unwrap();
        let net = net.map(&mut Shake);
        let loss = |net: &Net, ids| net.forward(ids).square().sum_dim(2).sum_dim(1).mean();
        let tape = Tape::start().with_loss_scale(LossScale::Mean);
        let grads = loss(&net, ids(&device)).backward();
        let recorded = RecordedBatch::collect(tape, grads, &net, None).unwrap();
        let jacobian = recorded.jacobian();
        let oracle =
            Jacobian::by_sample(&net, 4, |net, n| loss(net, ids(&device).narrow(0, n, 1))).unwrap();
        assert_eq!(jacobian.columns(), net.trainable().trainable);
        assert_eq!(jacobian.columns(), oracle.columns());
        let longest = oracle.row_norms().into_iter().fold(0.0, f64::max);
        for (row, expected) in jacobian.to_dense().iter().zip(oracle.to_dense()) {
            for (a, b) in row.iter().zip(&expected) {
                assert!((a - b).abs() < 1e-5 * longest, "{a} {b}");
            }
        }
    }
}

#[test]
fn the_look_up_and_the_head_change_apart_from_each_other() {
    let device = Device::flex().autodiff();
    device.seed(2);
    let base = Net::new(&device);
    let before = values(base.forward(ids(&device)));
    for (config, look_up, head) in configs()
        .into_iter()
        .zip([
            (true, false),
            (false, true),
            (true, true),
            (false, true),
            (true, false),
            (true, true),
            (true, true),
        ])
        .map(|(config, (look_up, head))| (config, look_up, head))
    {
        let net = base.clone().adapt("a", &config, &names()).unwrap();
        let net = net.map(&mut Shake);
        let read = |net: &Net| values(net.table.forward_adapted(ids(&device)));
        let hidden = Tensor::<3>::ones([1, 1, 4], &device);
        let project = |net: &Net| values(unembed_adapted(&net.table, hidden.clone()));
        assert_eq!(read(&net) != read(&base), look_up);
        assert_eq!(project(&net) != project(&base), head);

        let adapted = values(net.forward(ids(&device)));
        let merged = net.clone().merge_adapters().unwrap();
        assert!(far(&values(merged.forward(ids(&device))), &adapted) < 1e-5);
        let unmerged = merged.unmerge_adapters();
        assert_eq!(values(unmerged.forward(ids(&device))), adapted);
        let error = net.clone().merge_and_unload().unwrap_err();
        assert!(matches!(error, Error::TiedMerge { .. }), "{error}");
        assert!(error.to_string().contains("tied"), "{error}");
        let error = net.clone().into_burn_lora().unwrap_err();
        assert!(matches!(error, Error::TiedMerge { .. }), "{error}");

        let folder = net.save_adapter("a", &config, &names()).unwrap();
        let loaded = base.clone().load_adapter("b", &folder, &names()).unwrap();
        // Factors from a file lie in memory the other way round, which changes the last digit.
        assert!(far(&values(loaded.forward(ids(&device))), &adapted) < 1e-5);
        assert_eq!(
            loaded.update_folder("b", &folder, &names()).unwrap(),
            folder
        );
        let off = loaded.clone().with_adapters_enabled(false);
        assert_eq!(values(off.forward(ids(&device))), before);
        assert_eq!(values(loaded.unload().forward(ids(&device))), before);
    }
    // What leaves the table alone is merged.
    let net = base.adapt("a", lora(&["inner"]), &names()).unwrap();
    let net = net.map(&mut Shake);
    let adapted = values(net.forward(ids(&device)));
    let merged = net.merge_and_unload().unwrap();
    assert!(far(&values(merged.forward(ids(&device))), &adapted) < 1e-5);
}

#[test]
fn without_the_declaration_a_folder_with_a_head_is_refused() {
    let device = Device::flex().autodiff();
    let base = Net::new(&device);
    let config = lora(&["inner"]).with_modules_to_save(["lm_head"]);
    let net = base.clone().adapt("a", &config, &names()).unwrap();
    let folder = net.save_adapter("a", &config, &names()).unwrap();
    assert_eq!(
        folder.tensors["base_model.model.lm_head.weight"]
            .shape()
            .as_slice(),
        [7, 4]
    );
    let error = base.clone().load_adapter("a", &folder, &[]).unwrap_err();
    assert!(error.to_string().contains("with_tied_head"), "{error}");
    // A table that PEFT stored for the head as well.
    let plain = base.clone().adapt("a", lora(&["inner"]), &names()).unwrap();
    let mut stored = plain.save_adapter("a", lora(&["inner"]), &names()).unwrap();
    let table: TensorData = base.table.weight.val().into_data();
    for module in ["lm_head", "table"] {
        let key = format!("base_model.model.{module}.weight");
        stored.tensors.insert(key, table.clone());
    }
    let loaded = base.load_adapter("a", &stored, &names()).unwrap();
    assert_eq!(
        loaded.update_folder("a", &stored, &names()).unwrap(),
        stored
    );
}
