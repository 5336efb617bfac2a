//! First values of the factors.

use burn::tensor::{DType, Device, Distribution, Tensor, TensorData};
use faer::{Mat, MatRef};

use super::init_weights::InitLoraWeights;
use crate::adapters::kaiming;
use crate::error::Error;
use crate::settings::ranges::refuse;

/// Sizes of the factors of one weight: A `[d_in, r]` and B `[r, d_out]`.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub d_in: usize,
    pub rank: usize,
    pub d_out: usize,
}

/// A and B of a weight that keeps its value.
pub(super) fn factors(
    init: &InitLoraWeights,
    sizes: Sizes,
    device: &Device,
    dtype: DType,
) -> Result<[Tensor<2>; 2], Error> {
    let Sizes { d_in, rank, d_out } = sizes;
    let uniform = |shape, fan_in| kaiming(shape, fan_in, device, dtype);
    let normal = |shape: [usize; 2], deviation| {
        Tensor::<2>::random(shape, Distribution::Normal(0.0, deviation), device).cast(dtype)
    };
    let zeros = || Tensor::<2>::zeros([rank, d_out], (device, dtype));
    Ok(match init {
        InitLoraWeights::Kaiming => [uniform([d_in, rank], d_in), zeros()],
        InitLoraWeights::Gaussian => [normal([d_in, rank], 1.0 / rank as f64), zeros()],
        InitLoraWeights::Random => [uniform([d_in, rank], d_in), uniform([rank, d_out], rank)],
        InitLoraWeights::Orthogonal => {
            if !rank.is_multiple_of(2) {
                return refuse(
                    "r",
                    rank,
                    "expected an even number for the orthogonal initialisation",
                );
            }
            let half = rank / 2;
            let basis = to_mat(normal([rank, rank], 1.0), rank, rank);
            let basis = basis.qr().compute_Q();
            // Even rows of the basis on one side, odd ones on the other: their products vanish.
            let rows = |first: usize| Mat::from_fn(half, rank, |i, j| basis[(2 * i + first, j)]);
            let even = to_tensor(rows(0).as_ref(), device, dtype);
            let odd = to_tensor(rows(1).as_ref(), device, dtype);
            [
                normal([d_in, half], 0.1).matmul(odd),
                even.transpose().matmul(normal([half, d_out], 1.0)) * 0.1,
            ]
        }
        InitLoraWeights::Pissa | InitLoraWeights::PissaNiter(_) | InitLoraWeights::Olora => {
            return refuse(
                "init_lora_weights",
                init,
                "expected an initialisation that leaves the weight as it is; `LoraConfig::linear` \
                 and `Peft::adapt` can change it",
            );
        }
        InitLoraWeights::Other(name) => {
            return Err(Error::Unsupported {
                field: "init_lora_weights",
                value: format!("\"{name}\""),
            });
        }
    })
}

/// A and B taken out of a weight `[d_in, d_out]`: `scale A B` is the part that it loses.
pub(super) fn split(
    init: &InitLoraWeights,
    weight: Tensor<2>,
    rank: usize,
    scale: f64,
) -> Result<[Tensor<2>; 2], Error> {
    let [d_in, d_out] = weight.dims();
    let (device, dtype) = (weight.device(), weight.dtype());
    if rank > d_in.min(d_out) {
        return refuse(
            "r",
            rank,
            "expected at most the smaller side of the weight for this initialisation",
        );
    }
    let weight = to_mat(weight, d_in, d_out);
    let [a, b] = match init {
        InitLoraWeights::Olora => {
            // PEFT decomposes the transposed weight: [d_out, d_in] = Q R, B = Q, A = R.
            let qr = weight.transpose().qr();
            let (q, r) = (qr.compute_thin_Q(), qr.thin_R());
            [
                Mat::from_fn(d_in, rank, |i, k| r[(k, i)]),
                Mat::from_fn(rank, d_out, |k, j| q[(j, k)]),
            ]
        }
        _ => {
            let svd = weight.thin_svd().map_err(|_| Error::Config {
                field: "init_lora_weights",
                value: init.to_string(),
                expected: "expected a weight whose singular values can be found (all finite)",
            })?;
            let (u, s, v) = (svd.U(), svd.S().column_vector(), svd.V());
            let root = |k: usize| (s[k] / scale).sqrt();
            [
                Mat::from_fn(d_in, rank, |i, k| u[(i, k)] * root(k)),
                Mat::from_fn(rank, d_out, |k, j| v[(j, k)] * root(k)),
            ]
        }
    };
    Ok([a, b].map(|factor| to_tensor(factor.as_ref(), &device, dtype)))
}

fn to_mat(x: Tensor<2>, rows: usize, columns: usize) -> Mat<f64> {
    let values: Vec<f64> = x.into_data().iter().collect();
    Mat::from_fn(rows, columns, |i, j| values[i * columns + j])
}

fn to_tensor(x: MatRef<'_, f64>, device: &Device, dtype: DType) -> Tensor<2> {
    let (rows, columns) = (x.nrows(), x.ncols());
    let values: Vec<f64> = (0..rows * columns)
        .map(|at| x[(at / columns, at % columns)])
        .collect();
    let data = TensorData::new(values, [rows, columns]).convert_dtype(dtype);
    Tensor::from_data(data, (device, dtype))
}
