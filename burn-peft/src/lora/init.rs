//! First values of the factors.

use burn::config::Config;
use burn::tensor::{DType, Device, Distribution, Tensor, TensorData};
use faer::{Mat, MatRef};

use crate::error::Error;

/// How the factors of a new adapter start, by PEFT's names for it (`init_lora_weights`).
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_peft::{Initialization, LinearAdapted, LoraConfig};
///
/// let device = Device::flex().autodiff();
/// let layer = LinearConfig::new(16, 16).init(&device);
/// let x = Tensor::<2>::ones([2, 16], &device);
/// let before = layer.forward(x.clone());
/// // PiSSA moves the principal part of the weight into the adapter: the output stays.
/// let config = LoraConfig::new().with_init(Initialization::Pissa);
/// let layer = config.linear("default", layer)?;
/// assert!((layer.forward_adapted(x) - before).abs().max().into_scalar::<f32>() < 1e-5);
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Initialization {
    /// A uniform within `±1/√d_in`, B zero (`true`). An embedding starts with A zero and B normal.
    Kaiming,
    /// A normal with deviation `1/r`, B zero (`"gaussian"`).
    Gaussian,
    /// A and B uniform: the output changes at once (`false`).
    Random,
    /// Principal singular values and vectors of the weight, which loses them (Meng et al. 2024,
    /// arXiv 2404.02948; `"pissa"`).
    Pissa,
    /// First columns of the weight's QR decomposition, which loses them (Büyükakyüz 2024, arXiv
    /// 2406.01775; `"olora"`).
    Olora,
    /// Random factors with orthogonal supports, so that `A B = 0` (`"orthogonal"`); the rank must
    /// be even.
    Orthogonal,
}

impl Initialization {
    /// Whether part of the weight moves into the adapter.
    pub(crate) fn splits_weight(self) -> bool {
        matches!(self, Self::Pissa | Self::Olora)
    }
}

/// Sizes of the factors of one weight: A `[d_in, r]` and B `[r, d_out]`.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub d_in: usize,
    pub rank: usize,
    pub d_out: usize,
}

/// A and B of a weight that keeps its value.
pub(super) fn factors(
    init: Initialization,
    sizes: Sizes,
    device: &Device,
    dtype: DType,
) -> Result<[Tensor<2>; 2], Error> {
    let Sizes { d_in, rank, d_out } = sizes;
    let uniform = |shape: [usize; 2], fan_in: usize| {
        let bound = 1.0 / (fan_in as f64).sqrt();
        Tensor::<2>::random(shape, Distribution::Uniform(-bound, bound), device).cast(dtype)
    };
    let normal = |shape: [usize; 2], deviation| {
        Tensor::<2>::random(shape, Distribution::Normal(0.0, deviation), device).cast(dtype)
    };
    let zeros = || Tensor::<2>::zeros([rank, d_out], (device, dtype));
    Ok(match init {
        Initialization::Kaiming => [uniform([d_in, rank], d_in), zeros()],
        Initialization::Gaussian => [normal([d_in, rank], 1.0 / rank as f64), zeros()],
        Initialization::Random => [uniform([d_in, rank], d_in), uniform([rank, d_out], rank)],
        Initialization::Orthogonal => {
            if !rank.is_multiple_of(2) {
                return Err(Error::Config {
                    field: "rank",
                    value: rank.to_string(),
                    expected: "an even number for the orthogonal initialisation",
                });
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
        Initialization::Pissa | Initialization::Olora => {
            return Err(Error::Config {
                field: "init",
                value: init.to_string(),
                expected: "an initialisation that leaves the weight as it is",
            });
        }
    })
}

/// A and B taken out of a weight `[d_in, d_out]`: `scale A B` is the part that it loses.
pub(super) fn split(
    init: Initialization,
    weight: Tensor<2>,
    rank: usize,
    scale: f64,
) -> Result<[Tensor<2>; 2], Error> {
    let [d_in, d_out] = weight.dims();
    let (device, dtype) = (weight.device(), weight.dtype());
    if rank > d_in.min(d_out) {
        return Err(Error::Config {
            field: "rank",
            value: rank.to_string(),
            expected: "at most the smaller side of the weight for this initialisation",
        });
    }
    let weight = to_mat(weight, d_in, d_out);
    let [a, b] = match init {
        Initialization::Olora => {
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
                field: "init",
                value: init.to_string(),
                expected: "a weight whose singular values can be found (all finite)",
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
