//! Single operations at the sizes of the LoRA setting with 32 samples: Burn's own and those of
//! burn-flex-fused.

use std::path::PathBuf;
use std::time::Duration;

use burn::tensor::{Device, Distribution, Int, Tensor, activation, module};
use burn_flex_fused::{self as fused, AttentionOptions, RotaryPairs};
use clap::Parser;
use programs::files;
use programs::table::{Style, Table, number, table};

use crate::measure::{Effort, interleave, median};
use crate::method::Step;

const SAMPLES: usize = 32;
const POSITIONS: usize = 64;
const WIDTH: usize = 384;
const HEADS: usize = 12;
const FEED_FORWARD: usize = 1536;
const CLASSES: usize = 8192;

/// Time of single operations, forward alone (without autodiff) and forward with backward.
///
/// The four variants of an operation take turns in one process.
#[derive(Debug, Clone, Parser)]
#[command(name = "ops")]
pub struct Args {
    /// Write the rows here, as a JSON list.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Only operations whose name contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub only: String,

    /// Timed rounds over the variants of an operation.
    #[arg(long, default_value_t = 20)]
    pub rounds: usize,

    /// Deviation of the inputs. Burn's GELU takes longer for wider ones.
    #[arg(long, default_value_t = 1.0)]
    pub deviation: f64,
}

/// One operation.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Row {
    /// Which, with its sizes.
    pub operation: &'static str,
    /// Medians of the forward pass.
    pub forward_ms: Pair,
    /// Medians of forward and backward pass together.
    pub both_ms: Pair,
}

/// Burn's own and the fused one.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Pair {
    /// Burn's own operations.
    pub burn: Option<f64>,
    /// burn-flex-fused.
    pub fused: Option<f64>,
}

/// Measure all operations.
///
/// # Errors
///
/// A message for the user: a file that cannot be written.
pub fn run(args: &Args) -> Result<(), String> {
    let mut rows = Vec::new();
    let chosen = operations()
        .into_iter()
        .filter(|operation| operation.name.contains(&args.only));
    for operation in chosen {
        eprintln!("{}", operation.name);
        rows.push(measure(args, &operation));
    }
    println!("{}", report(&rows));
    match &args.json {
        Some(path) => files::write_json(path, &rows).map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

/// What an operation computes from its inputs; the outputs may have any shape.
type Compute = fn(&[Tensor<3>]) -> Tensor<1>;

struct Operation {
    name: &'static str,
    inputs: Vec<[usize; 3]>,
    burn: Compute,
    fused: Compute,
}

fn operations() -> Vec<Operation> {
    let wide = [SAMPLES, POSITIONS, FEED_FORWARD];
    let narrow = [SAMPLES, POSITIONS, WIDTH];
    let vector = [1, 1, WIDTH];
    let scores = [SAMPLES, HEADS * POSITIONS, POSITIONS];
    let logits = [1, 1024, CLASSES];
    let new = |name, inputs: &[[usize; 3]], burn, fused| Operation {
        name,
        inputs: inputs.to_vec(),
        burn,
        fused,
    };
    let weight = |inner, outer| [1, inner, outer];
    vec![
        new(
            "linear [2048, 384] to 384, with bias, trained",
            &[narrow, weight(WIDTH, WIDTH), vector],
            own_linear,
            fused_linear,
        ),
        new(
            "linear [2048, 384] to 1536, with bias, trained",
            &[narrow, weight(WIDTH, FEED_FORWARD), [1, 1, FEED_FORWARD]],
            own_linear,
            fused_linear,
        ),
        new(
            "linear [2048, 1536] to 384, with bias and residual, trained",
            &[wide, weight(FEED_FORWARD, WIDTH), vector, narrow],
            |x| own_linear(x) + flat(x[3].clone()),
            |x| {
                let (weight, bias) = (x[1].clone().squeeze_dim(0), flat(x[2].clone()));
                flat(fused::linear_add(
                    x[0].clone(),
                    weight,
                    Some(bias),
                    x[3].clone(),
                ))
            },
        ),
        new(
            "linear [64, 3072] to 2048, with bias, trained",
            &[[1, 64, 3072], weight(3072, 2048), [1, 1, 2048]],
            own_linear,
            fused_linear,
        ),
        new(
            "gelu [2048, 1536]",
            &[wide],
            |x| flat(activation::gelu(x[0].clone())),
            |x| flat(fused::gelu(x[0].clone())),
        ),
        new(
            "gelu_approximate [2048, 1536]",
            &[wide],
            |x| flat(activation::gelu_approximate(x[0].clone())),
            |x| flat(fused::gelu_approximate(x[0].clone())),
        ),
        new(
            "silu [2048, 1536]",
            &[wide],
            |x| flat(activation::silu(x[0].clone())),
            |x| flat(fused::silu(x[0].clone())),
        ),
        new(
            "swiglu 2 x [2048, 1536]",
            &[wide, wide],
            |x| flat(activation::silu(x[0].clone()) * x[1].clone()),
            |x| flat(fused::swiglu(x[0].clone(), x[1].clone())),
        ),
        new(
            "layer_norm [2048, 384], trained",
            &[narrow, vector, vector],
            |x| {
                let [gamma, beta] = [1, 2].map(|at| flat(x[at].clone()));
                flat(module::layer_norm(x[0].clone(), gamma, Some(beta), 1e-5))
            },
            |x| {
                let [gamma, beta] = [1, 2].map(|at| flat(x[at].clone()));
                flat(fused::layer_norm(x[0].clone(), gamma, Some(beta), 1e-5))
            },
        ),
        new(
            "rms_norm [2048, 384], trained",
            &[narrow, vector],
            |x| {
                let rms = (x[0].clone().square().mean_dim(2) + 1e-5).sqrt();
                flat(x[0].clone() / rms * x[1].clone())
            },
            |x| flat(fused::rms_norm(x[0].clone(), flat(x[1].clone()), 1e-5)),
        ),
        new(
            "attention 3 x [32, 64, 12 * 32]",
            &[narrow, narrow, narrow],
            |x| composed_attention(x, false),
            |x| attention(x, &AttentionOptions::new(HEADS)),
        ),
        new(
            "attention, causal",
            &[narrow, narrow, narrow],
            |x| composed_attention(x, true),
            |x| attention(x, &AttentionOptions::new(HEADS).with_causal(true)),
        ),
        new(
            "softmax [24576, 64]",
            &[scores],
            |x| flat(activation::softmax(x[0].clone(), 2)),
            |x| flat(fused::softmax(x[0].clone())),
        ),
        new(
            "cross_entropy [1024, 8192]",
            &[logits],
            |x| {
                let picked =
                    activation::log_softmax(logits_of(x), 1).gather(1, targets(x).unsqueeze_dim(1));
                flat(picked.neg())
            },
            |x| fused::cross_entropy(logits_of(x), targets(x), None),
        ),
        new(
            "rotary [32, 64, 12 * 32]",
            &[narrow],
            |x| {
                let [cos, sin] = angles(&x[0]).map(|angle| angle.unsqueeze_dim::<4>(2));
                let split: Tensor<4> =
                    x[0].clone()
                        .reshape([SAMPLES, POSITIONS, HEADS, WIDTH / HEADS]);
                let half = WIDTH / HEADS / 2;
                let (a, b) = (
                    split.clone().narrow(3, 0, half),
                    split.narrow(3, half, half),
                );
                let first = a.clone() * cos.clone() - b.clone() * sin.clone();
                flat(Tensor::cat(vec![first, b * cos + a * sin], 3))
            },
            |x| {
                let [cos, sin] = angles(&x[0]);
                flat(fused::rotary(
                    x[0].clone(),
                    cos,
                    sin,
                    HEADS,
                    RotaryPairs::Halves,
                ))
            },
        ),
    ]
}

fn flat<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    let count = x.shape().num_elements();
    x.reshape([count])
}

fn own_linear(x: &[Tensor<3>]) -> Tensor<1> {
    let weight = x[1].clone().squeeze_dim(0);
    flat(module::linear(
        x[0].clone(),
        weight,
        Some(flat(x[2].clone())),
    ))
}

fn fused_linear(x: &[Tensor<3>]) -> Tensor<1> {
    let weight = x[1].clone().squeeze_dim(0);
    flat(fused::linear(
        x[0].clone(),
        weight,
        Some(flat(x[2].clone())),
    ))
}

fn attention(x: &[Tensor<3>], options: &AttentionOptions) -> Tensor<1> {
    let [q, k, v] = [0, 1, 2].map(|at| x[at].clone());
    flat(fused::attention(q, k, v, options))
}

fn composed_attention(x: &[Tensor<3>], causal: bool) -> Tensor<1> {
    let [q, k, v] = [0, 1, 2].map(|at| {
        let x: Tensor<4> = x[at]
            .clone()
            .reshape([SAMPLES, POSITIONS, HEADS, WIDTH / HEADS]);
        x.swap_dims(1, 2)
    });
    let scores = q.matmul(k.swap_dims(2, 3)) / ((WIDTH / HEADS) as f64).sqrt();
    let scores = if causal {
        let mask = Tensor::<2, burn::tensor::Bool>::tril_mask([POSITIONS; 2], 0, &scores.device());
        scores.mask_fill(mask.unsqueeze(), f64::NEG_INFINITY)
    } else {
        scores
    };
    flat(activation::softmax(scores, 3).matmul(v).swap_dims(1, 2))
}

fn logits_of(x: &[Tensor<3>]) -> Tensor<2> {
    x[0].clone().squeeze_dim(0)
}

fn targets(x: &[Tensor<3>]) -> Tensor<1, Int> {
    Tensor::arange(0..x[0].dims()[1] as i64, &x[0].device())
}

fn angles(x: &Tensor<3>) -> [Tensor<3>; 2] {
    let shape = [1, POSITIONS, WIDTH / HEADS / 2];
    [0.6, 0.8].map(|value| Tensor::full(shape, value, &x.device().inner()))
}

/// One variant of an operation.
struct Pass {
    inputs: Vec<Tensor<3>>,
    compute: Compute,
    backward: bool,
}

impl Step for Pass {
    fn step(&mut self) {
        let y = (self.compute)(&self.inputs);
        if self.backward {
            drop(y.backward());
        }
    }
}

fn measure(args: &Args, operation: &Operation) -> Row {
    let plain = Device::flex();
    let pass = |compute, backward| -> Box<dyn Step> {
        let device = if backward {
            plain.clone().autodiff()
        } else {
            plain.clone()
        };
        plain.seed(1);
        let inputs = operation.inputs.iter().map(|shape| {
            let normal = Distribution::Normal(0.0, args.deviation);
            let x = Tensor::<3>::random(*shape, normal, &device);
            if backward { x.require_grad() } else { x }
        });
        Box::new(Pass {
            inputs: inputs.collect(),
            compute,
            backward,
        })
    };
    let mut steps = [
        pass(operation.burn, false),
        pass(operation.fused, false),
        pass(operation.burn, true),
        pass(operation.fused, true),
    ];
    let effort = Effort {
        rounds: args.rounds,
        budget: Duration::from_secs(10),
    };
    let times = interleave(&mut steps, effort);
    let milliseconds =
        |at: usize| median(&times[at]).map(|time: Duration| time.as_secs_f64() * 1e3);
    let pair = |at| Pair {
        burn: milliseconds(at),
        fused: milliseconds(at + 1),
    };
    Row {
        operation: operation.name,
        forward_ms: pair(0),
        both_ms: pair(2),
    }
}

fn report(rows: &[Row]) -> Table {
    let header = [
        "operation",
        "Burn forward ms",
        "fused forward ms",
        "Burn / fused",
        "Burn forward and backward ms",
        "fused forward and backward ms",
        "Burn / fused",
    ];
    let ratio = |pair: Pair| pair.burn.zip(pair.fused).map(|(burn, fused)| burn / fused);
    let lines = rows.iter().map(|row| {
        let mut line = vec![row.operation.to_string()];
        for pair in [row.forward_ms, row.both_ms] {
            let cells = [(pair.burn, 2), (pair.fused, 2), (ratio(pair), 1)];
            line.extend(cells.map(|(value, digits)| number(value, digits)));
        }
        line
    });
    table(Style::Markdown, header, &[0], lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both sides of every row compute the same numbers.
    #[test]
    fn both_sides_are_the_same_operation() {
        let _random = crate::settings::random_state();
        for operation in operations() {
            let inputs = operation.inputs.iter().map(|shape| {
                Tensor::<3>::random(*shape, Distribution::Normal(0.0, 1.0), &Device::flex())
            });
            let inputs: Vec<_> = inputs.collect();
            let own = (operation.burn)(&inputs);
            let largest = own.clone().abs().max().into_scalar::<f32>();
            let difference = own - (operation.fused)(&inputs);
            let difference = difference.abs().max().into_scalar::<f32>();
            assert!(
                difference < 1e-5 * largest,
                "{}: {difference} of {largest}",
                operation.name
            );
        }
    }
}
