//! Empty batches, and labels and indices out of range.

use burn::module::Module;
use burn::nn::transformer::{TransformerEncoder, TransformerEncoderConfig};
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig};
use burn_ief::nn::{embed_shared, unembed};
use burn_ief::{Error, mark_labels};

use super::*;

#[derive(Module, Debug)]
struct Net {
    table: Embedding,
    positions: Embedding,
    encoder: TransformerEncoder,
    norm: LayerNorm,
    head: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        Self {
            table: EmbeddingConfig::new(7, 8).init(device),
            positions: EmbeddingConfig::new(4, 8).init(device),
            encoder: TransformerEncoderConfig::new(8, 16, 2, 1).init(device),
            norm: LayerNormConfig::new(8).init(device),
            head: layer(8, 3, device),
        }
    }

    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<2> {
        let [batch, length] = ids.dims();
        let device = ids.device();
        let places = Tensor::<1, Int>::arange(0..length as i64, &device).unsqueeze();
        let x = self.table.forward_recorded(ids) + embed_shared(&self.positions, places, batch);
        let x = self.norm.forward_recorded(self.encoder.forward_recorded(x));
        let tied = unembed(&self.table, x.clone()).mean_dim(2);
        let x = (x + tied).mean_dim(1).squeeze_dim::<2>(1);
        self.head.forward_recorded(x)
    }
}

fn ids(rows: usize, values: impl Fn(usize) -> i64, device: &Device) -> Tensor<2, Int> {
    let values: Vec<i64> = (0..rows * 4).map(values).collect();
    Tensor::from_data(TensorData::new(values, [rows, 4]), device)
}

fn step(model: &Net, config: &AnyConfig, ids: Tensor<2, Int>, y: &[i64]) -> Result<Net, Error> {
    let y = labels(y, &ids.device());
    config
        .init(model)
        .step_closure(0.1, model.clone(), |model| {
            let logits = mark_output(model.forward(ids));
            mark_loss(cross_entropy(logits, mark_labels(y, 3)))
        })
}

#[test]
fn an_empty_batch_is_an_error() {
    let device = device();
    let model = Net::new(&device);
    for config in methods() {
        let error = step(&model, &config, ids(0, |_| 0, &device), &[]).unwrap_err();
        assert_eq!(error, Error::EmptyBatch, "{config}");
    }
}

#[test]
fn an_index_out_of_range_is_an_error_with_the_path() {
    let device = device();
    let model = Net::new(&device);
    for config in methods() {
        for bad in [7, 1000, -1] {
            let ids = ids(2, |n| if n == 5 { bad } else { 1 }, &device);
            let error = step(&model, &config, ids, &[0, 1]).unwrap_err();
            let expected = Error::IndexRange {
                what: "an index into `table.weight`".into(),
                size: 7,
                found: bad,
            };
            assert_eq!(error, expected, "{config}");
        }
    }
    assert!(
        step(
            &model,
            &IefConfig::new().into(),
            ids(2, |_| 6, &device),
            &[0, 2]
        )
        .is_ok()
    );
    // The paths of frozen tables are not known; the message still says what the number is.
    let mut frozen = model;
    frozen.table = frozen.table.no_grad();
    let bad = ids(2, |_| 7, &device);
    let error = step(&frozen, &IefConfig::new().into(), bad, &[0, 2]).unwrap_err();
    let said = error.to_string();
    assert!(said.starts_with("an index into `"), "{said}");
}

/// Two linear layers with one weight, as users tie them.
#[derive(Module, Debug)]
struct Tied {
    a: Linear,
    b: Linear,
}

#[test]
fn a_parameter_in_two_modules_is_counted_once_and_not_trained() {
    let device = device();
    let a = layer(4, 4, &device);
    let mut b = layer(4, 4, &device);
    b.weight = a.weight.clone();
    let model = Tied { a, b };
    let x = normal(5, 4, &device);
    let loss = |model: &Tied, x: Tensor<2>| {
        let hidden = model.a.forward_recorded(x);
        let z = mark_output_as(model.b.forward_recorded(hidden), Likelihood::Gaussian);
        z.square().sum_dim(1).mean()
    };
    let tape = Tape::start();
    let grads = loss(&model, x.clone()).backward();
    let recorded = burn_ief::jacobian::Jacobian::from_tape(tape, grads, &model).unwrap();
    let single = |model: &Tied, n: usize| loss(model, x.clone().narrow(0, n, 1));
    let by_sample = burn_ief::jacobian::Jacobian::by_sample(&model, 5, single).unwrap();
    let gram = recorded.gram().unwrap();
    for jacobian in [&recorded, &by_sample] {
        assert_eq!(jacobian.columns(), 16 + 4 + 4);
        let dense = jacobian.to_dense();
        let ones = jacobian.t_matvec(&[1.0; 5]).unwrap();
        let image = jacobian.matvec(&ones).unwrap();
        for n in 0..5 {
            let own: f64 = dense[n].iter().map(|x| x * x).sum();
            assert!((own / gram.get(n, n) - 1.0).abs() < 1e-4, "{own}");
            let total: f64 = (0..5).map(|m| gram.get(n, m)).sum();
            assert!(
                (image[n] - total).abs() < 1e-3 * own,
                "{} {total}",
                image[n]
            );
        }
    }
    // NGD was made for three classes.
    for config in methods().into_iter().filter(|c| c.to_string() != "ngd") {
        let step = config
            .init(&model)
            .step_closure(0.1, model.clone(), |model| {
                mark_loss(loss(model, x.clone()))
            });
        let expected = Error::SharedParameter {
            first: "a.weight".into(),
            second: "b.weight".into(),
        };
        assert_eq!(step.map(drop), Err(expected), "{config}");
    }
}

#[test]
fn a_label_out_of_range_is_an_error() {
    let device = device();
    let model = Net::new(&device);
    for bad in [3, -1, 99] {
        let ids = ids(2, |n| n as i64 % 7, &device);
        let error = step(&model, &IefConfig::new().into(), ids, &[0, bad]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("a label is {bad}, expected a number from 0 to 2")
        );
    }
}
