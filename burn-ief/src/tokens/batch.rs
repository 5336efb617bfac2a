//! What enters the output head at the answers of a batch.

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

use super::answers::Answers;
use super::head::{Entering, VocabularyHead};
use super::slices::{Pass, Targets, Wanted, pass};
use crate::rows::WideLogits;

/// What enters the head.
pub(super) struct Batch {
    /// `[(1 + K) M, T, d]`
    pub hidden: Tensor<3>,
    /// The logits at the answers of the samples, then of each copy, with inputs on the autodiff graph.
    pub logits: WideLogits,
    pub answers: Answers,
    pub slice: usize,
}

impl Batch {
    /// The batch whose hidden states are these, with copies of the samples.
    pub fn new(hidden: Tensor<3>, head: &VocabularyHead, answers: Answers, copies: usize) -> Self {
        Self {
            logits: enter(&hidden, head, &answers, copies),
            hidden,
            answers,
            slice: head.slice(),
        }
    }

    /// Whether the losses depend on anything that is differentiated.
    pub fn is_tracked(&self) -> bool {
        self.logits.terms.iter().any(|term| {
            let input = term.input.as_ref().is_some_and(Tensor::is_tracked);
            input || term.weight.is_tracked()
        })
    }

    /// The pass over the answers of one copy, the samples themselves being the first.
    pub fn pass(&self, copy: usize, targets: Targets<'_>, wanted: &Wanted) -> Pass {
        let count = self.answers.len();
        let logits = self.logits.narrow(copy * count, count).constant();
        pass(&logits, count, targets, wanted, self.slice)
    }

    /// Whether the inputs of the terms are differentiated.
    pub fn tracked_inputs(&self) -> Vec<bool> {
        let terms = self.logits.terms.iter();
        terms
            .map(|term| term.input.as_ref().is_some_and(Tensor::is_tracked))
            .collect()
    }

    /// Sums over the answers of every sample, `[M]`.
    pub fn by_sample(&self, x: Tensor<1>) -> Tensor<1> {
        let owners: Vec<i64> = self.answers.owners.iter().map(|&n| n as i64).collect();
        let owners = TensorData::new(owners, [self.answers.len()]);
        let owners = Tensor::<1, Int>::from_data(owners, &x.device());
        let zeros = Tensor::zeros([self.answers.samples], (&x.device(), x.dtype()));
        zeros.select_assign(0, owners, x, IndexingUpdateOp::Add)
    }

    /// `Σ_j x_j · g_j` at every answer of one copy, `[N]`: its gradient at what enters is g. `None` if nothing that
    /// enters is differentiated.
    pub fn inner_products(
        &self,
        copy: usize,
        gradients: &[Option<Tensor<2>>],
    ) -> Option<Tensor<1>> {
        let count = self.answers.len();
        let terms = self.logits.terms.iter().zip(gradients);
        let products = terms.filter_map(|(term, gradient)| {
            let (input, gradient) = (term.input.clone()?, gradient.clone()?);
            let input = input.narrow(0, copy * count, count).cast(gradient.dtype());
            Some((input * gradient).sum_dim(1).squeeze_dim(1))
        });
        products.reduce(|a, b| a + b)
    }

    /// `Σ_j W_j · g_j` over the weights that the pass has gradients of, `[1]`.
    pub fn inner_products_of_weights(&self, found: &Pass) -> Option<Tensor<1>> {
        let terms = self.logits.terms.iter().zip(&found.weights);
        let products =
            terms.filter_map(|(term, gradient)| Some(term.weight.inner_product(gradient.clone()?)));
        products.reduce(|a, b| a + b)
    }
}

/// What enters each term of the head at the answers, on the autodiff graph.
fn enter(
    hidden: &Tensor<3>,
    head: &VocabularyHead,
    answers: &Answers,
    copies: usize,
) -> WideLogits {
    let [rows, positions, features] = hidden.dims();
    let device = hidden.device();
    let indices = |places: Vec<i64>| {
        let count = places.len();
        Tensor::<1, Int>::from_data(TensorData::new(places, [count]), &device)
    };
    let of_copies = |places: &[i64], each: usize| {
        let all =
            (0..copies).flat_map(|copy| places.iter().map(move |at| at + (copy * each) as i64));
        indices(all.collect())
    };
    let places: Vec<i64> = answers.places.iter().map(|&at| at as i64).collect();
    let places = of_copies(&places, answers.samples * positions);
    let flat = || hidden.clone().reshape([rows * positions, features]);
    let narrow = head
        .terms
        .iter()
        .any(|term| matches!(term.entering, Entering::LowRank(_)));
    // Recorded layers need the samples on axis 0.
    let padded = narrow.then(|| {
        let width = answers.width();
        let padded = answers.padded();
        let at = padded.iter().enumerate().map(|(at, answer)| match answer {
            Some(answer) => answers.places[*answer] as i64,
            None => (at / width * positions) as i64,
        });
        let at: Vec<i64> = at.collect();
        let own = flat().select(0, of_copies(&at, answers.samples * positions));
        let own = own.reshape([rows, width, features]);
        let mut from = vec![0; answers.len()];
        for (at, answer) in padded.iter().enumerate() {
            if let Some(answer) = answer {
                from[*answer] = at as i64;
            }
        }
        (own, of_copies(&from, answers.samples * width))
    });
    let terms = head.terms.iter().map(|term| {
        let input = match (&term.entering, &padded) {
            (Entering::One, _) => None,
            (Entering::LowRank(narrow), Some((own, from))) => {
                let hidden = narrow.apply(own.clone());
                let [_, width, rank] = hidden.dims();
                let hidden = hidden.reshape([rows * width, rank]);
                Some(hidden.select(0, from.clone()))
            }
            _ => Some(flat().select(0, places.clone())),
        };
        term.with_input(input)
    });
    WideLogits {
        terms: terms.collect(),
        cap: head.soft_cap(),
    }
}
