//! Rows from one backward pass per sample, and dense algebra with them in f64.

use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use burn_ief::jacobian::{Jacobian, RecordedBatch};
use burn_ief::solve::Symmetric;
use burn_ief::{Tape, mark_output};

use super::net::{Batch, Net, Reduction};

/// Record a batch; output marked.
pub fn record(net: &Net, batch: &Batch, reduction: Reduction) -> RecordedBatch {
    let tape = Tape::start().with_loss_scale(batch.scale(reduction));
    let loss = batch.loss(mark_output(net.forward(batch)), reduction);
    RecordedBatch::collect(tape, loss.backward(), net, None).unwrap()
}

pub fn by_sample(net: &Net, batch: &Batch) -> Jacobian {
    Jacobian::by_sample(net, batch.labels.len(), |net, n| {
        let sample = batch.select(n..n + 1);
        sample.losses(net.forward(&sample)).sum()
    })
    .unwrap()
}

/// s_n = Σ_t w² ‖softmax(z) − onehot(y)‖².
pub fn output_norms(net: &Net, batch: &Batch) -> Vec<f64> {
    let logits = net.forward(batch);
    let classes = logits.dims()[2];
    let p = values(softmax(logits, 2));
    let positions = batch.labels[0].len();
    let rows = p.chunks(classes).zip(batch.labels.iter().flatten());
    let norms: Vec<f64> = rows
        .map(|(p, &label)| {
            let square = p.iter().enumerate().map(|(class, p)| {
                let target = f64::from(u8::from(class as i64 == label));
                (p - target).powi(2)
            });
            f64::from(batch.weight(label)).powi(2) * square.sum::<f64>()
        })
        .collect();
    norms.chunks(positions).map(|n| n.iter().sum()).collect()
}

pub fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().convert::<f64>().try_to_vec().unwrap()
}

/// A direction's entries in the order of the Jacobian's columns; what is missing is zero.
pub fn flat(jacobian: &Jacobian, grads: &GradientsParams) -> Vec<f64> {
    let entries = jacobian.params().iter().flat_map(|param| {
        let entry = match param.shape.num_dims() {
            1 => grads.get::<1>(param.id).map(values),
            2 => grads.get::<2>(param.id).map(values),
            rank => panic!("a parameter of rank {rank}"),
        };
        entry.unwrap_or_else(|| vec![0.0; param.shape.num_elements()])
    });
    entries.collect()
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub fn gram(rows: &[Vec<f64>]) -> Symmetric {
    Symmetric::from_fn(rows.len(), |i, j| dot(&rows[i], &rows[j]))
}

/// Σ_n c_n rows_n.
pub fn combine(rows: &[Vec<f64>], c: &[f64]) -> Vec<f64> {
    assert_eq!(rows.len(), c.len());
    (0..rows[0].len())
        .map(|p| rows.iter().zip(c).map(|(row, c)| c * row[p]).sum())
        .collect()
}

/// ‖a − b‖ / ‖b‖, absolute where b is zero.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let size = norm(&mut b.iter().copied());
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    if size > 0.0 {
        difference / size
    } else {
        difference
    }
}
