//! Attention whose scores stay in the cache, and are formed again by the backward pass.

mod backward;
mod forward;
mod plan;
mod product;
mod sizes;

use std::ops::Range;

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use super::extension::{Keeps, Kernel, Operation};
use super::memory::{dense, shape, tensor, zeros};
use super::real::Real;
use backward::Backward;
use forward::Forward;
pub(crate) use plan::Plan;
use plan::Scores;
use sizes::{BLOCK, Sizes, samples};

/// `softmax(scale · q kᵀ, changed as the plan says) v` for each head, `[M, T, heads * value_width]`.
#[derive(Debug)]
pub(crate) struct Attention(pub Plan);

impl Attention {
    pub fn kernel(self) -> Kernel {
        Kernel::new(self)
    }
}

impl Operation for Attention {
    fn keeps(&self, _needed: &[bool]) -> Keeps {
        Keeps::Inputs
    }

    fn forward<E: Real>(&self, inputs: &[FlexTensor]) -> FlexTensor {
        let inputs: Vec<_> = inputs.iter().map(dense).collect();
        let sizes = Sizes::new(&self.0, &inputs[0], &inputs[2]);
        let scores = Scores::<E>::new(&self.0, sizes.queries, sizes.keys);
        let [query, key, value] = [0, 1, 2].map(|at| samples::<E>(&inputs[at]));
        let stride = sizes.heads * sizes.value_width;
        let mut out = zeros::<E>(sizes.samples * sizes.queries * stride);
        let each = out.par_chunks_mut(sizes.queries * stride).enumerate();
        each.for_each(|(sample, out)| {
            let blocks = out.par_chunks_mut(BLOCK * stride).enumerate();
            blocks.for_each_init(forward::Scratch::default, |scratch, (block, out)| {
                pulp::Arch::new().dispatch(Forward {
                    sizes,
                    plan: &self.0,
                    scores: &scores,
                    sample,
                    first: block * BLOCK,
                    query: query(sample),
                    key: key(sample),
                    value: value(sample),
                    out,
                    scratch,
                });
            });
        });
        tensor(out, vec![sizes.samples, sizes.queries, stride])
    }

    fn backward<E: Real>(
        &self,
        kept: &[FlexTensor],
        error: FlexTensor,
        _needed: &[bool],
    ) -> Vec<Option<FlexTensor>> {
        let kept: Vec<_> = kept.iter().map(dense).collect();
        let error = dense(&error);
        let sizes = Sizes::new(&self.0, &kept[0], &kept[2]);
        let scores = Scores::<E>::new(&self.0, sizes.queries, sizes.keys);
        let [query, key, value] = [0, 1, 2].map(|at| samples::<E>(&kept[at]));
        let error = samples::<E>(&error);
        let job = |sample: usize,
                   heads: Range<usize>,
                   gradients: [&mut [E]; 3],
                   scratch: &mut backward::Scratch<E>| {
            pulp::Arch::new().dispatch(Backward {
                sizes,
                plan: &self.0,
                scores: &scores,
                sample,
                heads,
                query: query(sample),
                key: key(sample),
                value: value(sample),
                error: error(sample),
                gradients,
                scratch,
            });
        };
        let shapes: Vec<_> = kept.iter().map(shape).collect();
        let mut gradients = [0, 1, 2].map(|at| zeros::<E>(shapes[at].iter().product()));
        let [of_query, of_key, of_value] = &mut gradients;
        let per_sample = [0, 1, 2].map(|at| shapes[at][1] * shapes[at][2]);
        let split = of_query
            .par_chunks_mut(per_sample[0])
            .zip(of_key.par_chunks_mut(per_sample[1]))
            .zip(of_value.par_chunks_mut(per_sample[2]))
            .enumerate();
        if sizes.samples >= rayon::current_num_threads() {
            split.for_each_init(
                backward::Scratch::default,
                |scratch, (sample, ((of_query, of_key), of_value))| {
                    let heads = 0..sizes.key_value_heads;
                    job(sample, heads, [of_query, of_key, of_value], scratch);
                },
            );
        } else {
            // Too few samples for the threads: they share the heads, each in memory of its own.
            split.for_each(|(sample, ((of_query, of_key), of_value))| {
                let groups = (0..sizes.key_value_heads).into_par_iter();
                let parts: Vec<[Vec<E>; 3]> = groups
                    .map(|head| {
                        let counts = per_sample.map(|count| count / sizes.key_value_heads);
                        let mut parts = counts.map(|count| vec![E::ZERO; count]);
                        let gradients = parts.each_mut().map(Vec::as_mut_slice);
                        job(sample, head..head + 1, gradients, &mut Default::default());
                        parts
                    })
                    .collect();
                let outs = [of_query, of_key, of_value];
                for (at, out) in outs.into_iter().enumerate() {
                    let lines = parts.iter().map(|part| &part[at]);
                    gather(out, lines, shapes[at][2]);
                }
            });
        }
        let shapes = shapes.into_iter();
        let gradients = gradients.into_iter().zip(shapes);
        gradients
            .map(|(gradient, shape)| Some(tensor(gradient, shape)))
            .collect()
    }
}

/// Rows of `width` entries that are the rows of the parts next to each other.
fn gather<'a, E: Real>(out: &mut [E], parts: impl Iterator<Item = &'a Vec<E>>, width: usize) {
    let rows = out.len() / width;
    let mut start = 0;
    for part in parts {
        let columns = part.len() / rows;
        let lines = out.chunks_exact_mut(width).zip(part.chunks_exact(columns));
        for (out, part) in lines {
            out[start..start + columns].copy_from_slice(part);
        }
        start += columns;
    }
}
