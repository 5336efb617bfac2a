//! Attention against a composition of Burn's operations, over random sizes and options.

use burn::tensor::module;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Bool, DType, Device, Tensor, TensorData};
use burn_flex_fused::{AttentionOptions, Dropout, LeftOut, attention};
use proptest::prelude::*;

use crate::harness::{Case, Operation, check, check_large, config, error, host, numbers};

/// Sizes of one attention.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub samples: usize,
    pub queries: usize,
    pub keys: usize,
    pub shared: usize,
    pub group: usize,
    pub width: usize,
    pub value_width: usize,
}

impl Sizes {
    pub fn heads(&self) -> usize {
        self.shared * self.group
    }

    pub fn case(&self, size: f64, seed: u64) -> Case {
        let Self {
            samples,
            queries,
            keys,
            shared,
            width,
            value_width,
            ..
        } = *self;
        let sizes = [
            samples * queries * self.heads() * width,
            samples * keys * shared * width,
            samples * keys * shared * value_width,
        ];
        Case::random(&sizes, size, seed)
    }

    pub fn shaped(&self, x: &[Tensor<1>]) -> [Tensor<3>; 3] {
        let Self { samples, .. } = *self;
        [
            x[0].clone()
                .reshape([samples, self.queries, self.heads() * self.width]),
            x[1].clone()
                .reshape([samples, self.keys, self.shared * self.width]),
            x[2].clone()
                .reshape([samples, self.keys, self.shared * self.value_width]),
        ]
    }

    pub fn fused(&self, x: &[Tensor<1>], options: &AttentionOptions) -> Tensor<1> {
        let [q, k, v] = self.shaped(x);
        attention(q, k, v, options).flatten(0, 2)
    }

    /// `[M, heads, T, U]` from a rule for each entry.
    pub fn pairs(&self, rule: impl Fn([usize; 4]) -> bool) -> Vec<bool> {
        let mut all = Vec::new();
        for sample in 0..self.samples {
            for head in 0..self.heads() {
                for query in 0..self.queries {
                    for key in 0..self.keys {
                        all.push(rule([sample, head, query, key]));
                    }
                }
            }
        }
        all
    }

    /// Operation by operation: shared heads are repeated, `out` marks what is left out.
    pub fn composed(
        &self,
        x: &[Tensor<1>],
        options: &AttentionOptions,
        out: &[bool],
        kept: Option<&[f64]>,
    ) -> Tensor<1> {
        let [q, k, v] = self.shaped(x);
        let shape = [self.samples, self.heads(), self.queries, self.keys];
        let split = |x: Tensor<3>, heads: usize| {
            let [samples, positions, columns] = x.dims();
            let x = x.reshape([samples, positions, heads, columns / heads]);
            let x: Tensor<4> = x.swap_dims(1, 2);
            let each =
                (0..self.heads()).map(|head| x.clone().narrow(1, head * heads / self.heads(), 1));
            Tensor::cat(each.collect(), 1)
        };
        let scale = options.scale.unwrap_or(1.0 / (self.width as f64).sqrt());
        let scores = split(q, self.heads()).matmul(split(k, self.shared).transpose());
        let mut scores = scores.mul_scalar(scale);
        if let Some(cap) = options.soft_cap {
            scores = scores.mul_scalar(1.0 / cap).tanh().mul_scalar(cap);
        }
        if let Some(bias) = &options.bias {
            scores = scores.clone() + bias.clone().cast(scores.dtype()).expand(shape);
        }
        let score = match (options.left_out, scores.dtype()) {
            (LeftOut::Lowest, DType::F64) => f64::MIN,
            (LeftOut::Lowest, _) => f64::from(f32::MIN),
            (LeftOut::Value(score), _) => score,
            _ => f64::NEG_INFINITY,
        };
        let device = scores.device();
        let mask = Tensor::<4, Bool>::from_data(TensorData::new(out.to_vec(), shape), &device);
        let scores = scores.mask_fill(mask, score);
        // Burn's softmax inside its attention, which gives zeros to rows of -inf.
        let finite = match scores.dtype() {
            DType::F64 => (f64::MIN, f64::MIN_POSITIVE),
            _ => (f64::from(f32::MIN), f64::from(f32::MIN_POSITIVE)),
        };
        let largest = scores.clone().detach().max_dim(3).clamp_min(finite.0);
        let weights = (scores - largest).exp();
        let sum = weights.clone().sum_dim(3).clamp_min(finite.1);
        let mut weights = weights / sum;
        if let Some(kept) = kept {
            let kept = TensorData::new(kept.to_vec(), shape);
            let kept = Tensor::from_data(kept, (&device.inner(), weights.dtype()));
            weights = weights * kept;
        }
        weights
            .matmul(split(v, self.shared))
            .swap_dims(1, 2)
            .flatten(0, 3)
    }

    /// Compare with the composition.
    pub fn check(&self, case: &Case, options: &AttentionOptions, out: impl Fn([usize; 4]) -> bool) {
        let out = self.pairs(out);
        let fused: Operation<'_> = &|x| self.fused(x, &on_dtype(options, x[0].dtype()));
        check(case, fused, &|x| {
            self.composed(x, &on_dtype(options, x[0].dtype()), &out, None)
        });
    }
}

/// The bias at the dtype of the inputs.
fn on_dtype(options: &AttentionOptions, dtype: DType) -> AttentionOptions {
    let bias = options.bias.clone().map(|bias| bias.cast(dtype));
    options.clone().with_bias(bias)
}

pub fn sizes() -> impl Strategy<Value = Sizes> {
    (
        1usize..4,
        1usize..20,
        1usize..20,
        1usize..4,
        1usize..3,
        1usize..20,
        1usize..20,
    )
        .prop_map(
            |(samples, queries, keys, shared, group, width, value_width)| Sizes {
                samples,
                queries,
                keys,
                shared,
                group,
                width,
                value_width,
            },
        )
}

proptest! {
    #![proptest_config(config(32))]

    #[test]
    fn attentions_of_all_sizes_are_right(
        sizes in sizes(),
        size in 0.1f64..4.0,
        seed in 0u64..1000,
        tracked in 0usize..8,
        cap in prop::option::of(0.5f64..20.0),
        scale in prop::option::of(0.05f64..1.0),
    ) {
        let mut options = AttentionOptions::new(sizes.heads())
            .with_key_value_heads(sizes.shared)
            .with_soft_cap(cap);
        options.scale = scale;
        let case = sizes.case(size, seed).with_tracked(tracked);
        sizes.check(&case, &options, |_| false);
    }

    #[test]
    fn dropped_weights_are_the_same_forward_and_backward(
        sizes in sizes(),
        seed in 0u64..1000,
        probability in 0.0f64..0.9,
    ) {
        let dropout = Dropout::new(probability, seed);
        let options = AttentionOptions::new(sizes.heads())
            .with_key_value_heads(sizes.shared)
            .with_dropout(Some(dropout));
        // What is kept, seen through values that are one for a single key.
        let kept: Vec<f64> = {
            let device = Device::flex();
            let zeros = Tensor::zeros([sizes.samples, sizes.queries, sizes.heads()], &device);
            let keys = Tensor::zeros([sizes.samples, sizes.keys, sizes.heads()], &device);
            let unit = Tensor::<2>::eye(sizes.keys, &device);
            let unit: Tensor<3> = unit.unsqueeze::<3>().repeat_dim(2, sizes.heads());
            let unit = unit.expand([sizes.samples, sizes.keys, sizes.heads() * sizes.keys]);
            let probe = AttentionOptions::new(sizes.heads()).with_dropout(Some(dropout));
            let weights: Tensor<3> = attention(zeros, keys, unit, &probe);
            let shape = [sizes.samples, sizes.queries, sizes.heads(), sizes.keys];
            let weights: Tensor<4> = weights.reshape(shape).swap_dims(1, 2);
            let factor = 1.0 / (1.0 - probability);
            host(weights).into_iter().map(|w| if w > 0.0 { factor } else { 0.0 }).collect()
        };
        let case = sizes.case(2.0, seed);
        let none = sizes.pairs(|_| false);
        check(&case, &|x| sizes.fused(x, &options), &|x| {
            sizes.composed(x, &options, &none, Some(&kept))
        });
    }
}

#[test]
fn copies_of_a_sample_drop_the_same_weights() {
    let sizes = Sizes {
        samples: 2,
        queries: 5,
        keys: 7,
        shared: 2,
        group: 1,
        width: 4,
        value_width: 4,
    };
    let Case { inputs, .. } = sizes.case(1.0, 3);
    let device = Device::flex().autodiff();
    let parts = |copies: usize| {
        let shapes = [
            [sizes.samples, sizes.queries, 2 * sizes.width],
            [sizes.samples, sizes.keys, 2 * sizes.width],
            [sizes.samples, sizes.keys, 2 * sizes.value_width],
        ];
        let mut parts = inputs.iter().zip(shapes).map(|(input, shape)| {
            let data = burn::tensor::TensorData::new(input.clone(), shape);
            let part = Tensor::<3>::from_data(data, (&device, burn::tensor::DType::F64));
            part.repeat_dim(0, copies).require_grad()
        });
        [(); 3].map(|()| parts.next().expect("three inputs"))
    };
    let run = |copies: usize, composed: bool| {
        let dropout = Dropout::new(0.5, 9).with_copies(copies);
        let options = AttentionOptions::new(2).with_dropout(Some(dropout));
        let [q, k, v] = parts(copies);
        // A bias that autodiff tracks is left to Burn's operations.
        let bias = Tensor::<4>::zeros([1; 4], &device).cast(burn::tensor::DType::F64);
        let options = options.with_bias(composed.then(|| bias.require_grad()));
        let y = attention(q.clone(), k, v, &options);
        let grads = y.clone().square().sum().backward();
        (host(y), host(q.grad(&grads).expect("tracked")))
    };
    let (one, of_one) = run(1, false);
    for (y, of_query) in [run(3, false), run(3, true)] {
        assert!(error(&y, &one.repeat(3)) < 1e-12);
        assert!(error(&of_query, &of_one.repeat(3)) < 1e-12);
    }
    assert!(error(&one, &run(1, true).0) < 1e-12);
}

#[test]
#[should_panic(expected = "attention: expected the copies of dropout to divide M = 2, found 3")]
fn copies_that_do_not_divide_the_batch_are_refused() {
    let x = Tensor::<3>::ones([2, 3, 4], &Device::flex());
    let dropout = Dropout::new(0.5, 9).with_copies(3);
    let options = AttentionOptions::new(2).with_dropout(Some(dropout));
    attention(x.clone(), x.clone(), x, &options);
}

const LONG: Sizes = Sizes {
    samples: 1,
    queries: 150,
    keys: 131,
    shared: 2,
    group: 2,
    width: 16,
    value_width: 32,
};

#[test]
fn several_blocks_of_queries_are_right() {
    let options = AttentionOptions::new(4).with_key_value_heads(2);
    LONG.check(&LONG.case(2.0, 1), &options, |_| false);
    // More samples than threads: a task for each sample instead of each head.
    let many = Sizes {
        samples: 2 * std::thread::available_parallelism().map_or(1, usize::from) + 1,
        queries: 70,
        keys: 9,
        ..LONG
    };
    many.check(&many.case(2.0, 2), &options, |_| false);
}

#[test]
fn errors_in_f32_are_not_above_burns() {
    let sizes = Sizes {
        samples: 4,
        queries: 64,
        keys: 64,
        shared: 4,
        group: 1,
        width: 32,
        value_width: 32,
    };
    let none = sizes.pairs(|_| false);
    for cap in [None, Some(5.0)] {
        let options = AttentionOptions::new(4).with_soft_cap(cap);
        check_large(&sizes.case(1.5, 1), &|x| sizes.fused(x, &options), &|x| {
            sizes.composed(x, &options, &none, None)
        });
    }
}

#[test]
fn it_is_burns_attention() {
    let device = Device::flex();
    let tensor = |heads: usize, positions: usize, seed| {
        let all = numbers(2 * heads * positions * 8, 2.0, seed);
        let shape = [2, positions, heads * 8];
        Tensor::<3>::from_data(TensorData::new(all, shape), (&device, DType::F64))
    };
    let split = |x: Tensor<3>| {
        let [samples, positions, _] = x.dims();
        let x: Tensor<4> = x.reshape([samples, positions, 3, 8]);
        x.swap_dims(1, 2)
    };
    for (queries, keys) in [(5, 5), (3, 7), (7, 3)] {
        let (q, k, v) = (
            tensor(3, queries, 1),
            tensor(3, keys, 2),
            tensor(3, keys, 3),
        );
        for causal in [false, true] {
            for cap in [None, Some(2.0)] {
                let options = AttentionOptions::new(3)
                    .with_causal(causal)
                    .with_soft_cap(cap);
                let y = attention(q.clone(), k.clone(), v.clone(), &options);
                let own = AttentionModuleOptions {
                    scale: None,
                    softcap: cap,
                    is_causal: causal,
                };
                let [q, k, v] = [&q, &k, &v].map(|x| split(x.clone()));
                let expected = module::attention_fallback(q, k, v, None, None, own);
                let expected: Tensor<3> = expected.swap_dims(1, 2).reshape([2, queries as i32, 24]);
                let error = error(&host(y), &host(expected));
                assert!(error <= 1e-12, "{queries}, {keys}, {causal}: {error:e}");
            }
        }
    }
}

#[test]
fn one_tensor_and_views_of_one_tensor() {
    let one = Sizes {
        samples: 2,
        queries: 6,
        keys: 6,
        shared: 3,
        group: 1,
        width: 4,
        value_width: 4,
    };
    let options = AttentionOptions::new(3);
    let none = one.pairs(|_| false);
    let case = Case::random(&[2 * 6 * 12], 2.0, 4);
    let same = |x: &[Tensor<1>]| [x[0].clone(), x[0].clone(), x[0].clone()];
    check(&case, &|x| one.fused(&same(x), &options), &|x| {
        one.composed(&same(x), &options, &none, None)
    });
    // Thirds of one projection, which are not in one piece.
    let case = Case::random(&[2 * 6 * 36], 2.0, 5);
    let thirds = |x: &[Tensor<1>]| {
        let x: Tensor<3> = x[0].clone().reshape([2, 6, 36]);
        [0, 12, 24].map(|start| x.clone().narrow(2, start, 12))
    };
    let fused = |x: &[Tensor<1>]| {
        let [q, k, v] = thirds(x);
        attention(q, k, v, &options).flatten(0, 2)
    };
    check(&case, &fused, &|x| {
        let parts = thirds(x).map(|x| x.flatten(0, 2));
        one.composed(&parts, &options, &none, None)
    });
}

#[test]
fn no_number_stays_no_number() {
    for dtype in [DType::F32, DType::F64] {
        let device = Device::flex();
        let ones = Tensor::<3>::ones([1, 2, 2], (&device, dtype));
        let bad = Tensor::<3>::from_data([[[1.0, f32::NAN], [1.0, 1.0]]], (&device, dtype));
        let options = AttentionOptions::new(1);
        let y = host(attention(bad.clone(), ones.clone(), ones.clone(), &options));
        assert!(y[..2].iter().all(|y| y.is_nan()) && y[2..] == [1.0, 1.0]);
        let y = host(attention(ones.clone(), bad.clone(), ones.clone(), &options));
        assert!(y.iter().all(|y| y.is_nan()));
        let y = host(attention(ones.clone(), ones, bad, &options));
        assert!(y[1].is_nan() && y[3].is_nan() && y[0] == 1.0);
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let sizes = Sizes {
        samples: 1,
        queries: 4,
        keys: 5,
        shared: 1,
        group: 1,
        width: 3,
        value_width: 3,
    };
    let case = sizes.case(1e4, 6);
    let outcome = case.run(DType::F32, &|x| sizes.fused(x, &AttentionOptions::new(1)));
    let finite = |x: &[f64]| x.iter().all(|x| x.is_finite());
    assert!(finite(&outcome.value));
    assert!(outcome.gradients.iter().flatten().all(|x| finite(x)));
}

#[test]
#[should_panic(expected = "attention: expected a key [2, 3, 8], found [2, 3, 6]")]
fn shapes_are_checked() {
    let device = Device::flex();
    let zeros = |shape: [usize; 3]| Tensor::<3>::zeros(shape, &device);
    let (q, k, v) = (zeros([2, 3, 8]), zeros([2, 3, 6]), zeros([2, 3, 8]));
    let _ = attention(q, k, v, &AttentionOptions::new(2));
}

#[test]
#[should_panic(expected = "attention: expected key_value_heads to divide heads = 3, found 2")]
fn heads_are_checked() {
    let device = Device::flex();
    let x = Tensor::<3>::zeros([2, 3, 6], &device);
    let options = AttentionOptions::new(3).with_key_value_heads(2);
    let _ = attention(x.clone(), x.clone(), x, &options);
}
