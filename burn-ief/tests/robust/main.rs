//! No step returns `Ok` with a wrong or non-finite update, and no legitimate training is stopped.

mod bad_batches;
mod fitted;
mod loss_scale;
mod small_damping;

use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use burn_ief::methods::AnyConfig;
use burn_ief::prelude::*;

fn device() -> Device {
    Device::flex().autodiff()
}

fn labels(values: &[i64], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

fn normal(rows: usize, columns: usize, device: &Device) -> Tensor<2> {
    Tensor::random([rows, columns], Distribution::Normal(0.0, 1.0), device)
}

fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    CrossEntropyLossConfig::new()
        .init(&logits.device())
        .forward(logits, labels)
}

/// All entries of a layer's update.
fn entries(layer: &Linear, grads: &GradientsParams) -> Vec<f64> {
    let mut all = read(grads.get::<2>(layer.weight.id));
    let bias = layer.bias.as_ref().and_then(|bias| grads.get::<1>(bias.id));
    all.extend(read(bias));
    all
}

fn read<const D: usize>(tensor: Option<Tensor<D>>) -> Vec<f64> {
    tensor.map_or(Vec::new(), |tensor| {
        tensor.into_data().iter::<f64>().collect()
    })
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// All methods, for three classes.
fn methods() -> Vec<AnyConfig> {
    vec![
        EfConfig::new().into(),
        IefConfig::new().into(),
        SfConfig::new().into(),
        NgdConfig::new().with_classes(3).into(),
        GgtConfig::new().into(),
        KfacConfig::new().into(),
        EkfacConfig::new().into(),
        IekfacConfig::new().into(),
    ]
}

fn layer(inputs: usize, outputs: usize, device: &Device) -> Linear {
    LinearConfig::new(inputs, outputs).init(device)
}
