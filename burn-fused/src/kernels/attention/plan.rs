//! Which scores are changed, left out or dropped.

use std::ops::Range;

use burn::backend::flex::FlexTensor;

use crate::dropout::Dropout;
use crate::kernels::memory::{entries, shape};
use crate::kernels::real::Real;

/// Everything that attention needs apart from queries, keys and values.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub heads: usize,
    pub key_value_heads: usize,
    pub scale: f64,
    pub soft_cap: Option<f64>,
    /// Added to the scores, broadcast to `[M, heads, T, U]`.
    pub bias: Option<FlexTensor>,
    pub causal: bool,
    pub window: Option<usize>,
    /// True for pairs to leave out, broadcast to `[M, T, U]`.
    pub masks: Vec<FlexTensor>,
    /// The score of what is left out; `-inf` for none.
    pub left_out: f64,
    pub dropout: Option<Dropout>,
}

/// A tensor whose axes of size one are repeated.
#[derive(Clone, Copy)]
struct Repeated<'a, E, const D: usize> {
    entries: &'a [E],
    strides: [usize; D],
}

impl<'a, E, const D: usize> Repeated<'a, E, D> {
    fn new(entries: &'a [E], shape: &[usize]) -> Self {
        let mut strides = [0; D];
        let mut stride = 1;
        for axis in (0..D).rev() {
            if shape[axis] > 1 {
                strides[axis] = stride;
            }
            stride *= shape[axis];
        }
        Self { entries, strides }
    }

    /// The line at these places along all axes but the last, and whether it is a single entry.
    #[inline(always)]
    fn line(&self, at: &[usize]) -> (&'a [E], bool) {
        let start: usize = at.iter().zip(self.strides).map(|(at, s)| at * s).sum();
        (&self.entries[start..], self.strides[D - 1] == 0)
    }
}

/// What the [`Plan`] does to the scores of one query.
pub(super) struct Scores<'a, E> {
    soft_cap: Option<E>,
    bias: Option<Repeated<'a, E, 4>>,
    masks: Vec<Repeated<'a, u8, 3>>,
    causal: bool,
    window: Option<usize>,
    left_out: E,
    /// Keys that precede the first query.
    earlier: isize,
    keys: usize,
}

impl<'a, E: Real> Scores<'a, E> {
    pub fn new(plan: &'a Plan, queries: usize, keys: usize) -> Self {
        let bias = plan.bias.as_ref();
        let masks = plan.masks.iter();
        Self {
            soft_cap: plan.soft_cap.map(E::of),
            bias: bias.map(|bias| Repeated::new(entries::<E>(bias), &shape(bias))),
            masks: masks
                .map(|mask| {
                    let start = mask.layout().start_offset();
                    Repeated::new(&mask.storage::<u8>()[start..], &shape(mask))
                })
                .collect(),
            causal: plan.causal,
            window: plan.window,
            left_out: E::of(plan.left_out),
            earlier: keys as isize - queries as isize,
            keys,
        }
    }

    /// Whether a query without keys gets zeros.
    pub fn zeros(&self) -> bool {
        self.left_out == E::NEG_INFINITY
    }

    pub fn soft_cap(&self) -> Option<E> {
        self.soft_cap
    }

    /// The keys that the causal mask and the window leave to a query.
    #[inline(always)]
    fn seen(&self, query: usize) -> Range<usize> {
        let own = query as isize + self.earlier;
        let window = self
            .window
            .map(|window| window.min(isize::MAX as usize) as isize);
        let within = |at: isize| at.clamp(0, self.keys as isize) as usize;
        let end = match window {
            _ if self.causal => within(own.saturating_add(1)),
            Some(window) => within(own.saturating_add(window)),
            None => self.keys,
        };
        let start = window.map_or(0, |window| {
            within(own.saturating_sub(window).saturating_add(1))
        });
        start.min(end)..end
    }

    /// Turn products into scores; with a soft cap, `capped` receives `tanh(x / cap)`.
    #[inline(always)]
    pub fn adjust(&self, [sample, head, query]: [usize; 3], row: &mut [E], capped: &mut [E]) {
        if let Some(cap) = self.soft_cap {
            for (x, capped) in row.iter_mut().zip(capped) {
                *capped = (*x / cap).tanh();
                *x = *capped * cap;
            }
        }
        if let Some(bias) = &self.bias {
            match bias.line(&[sample, head, query]) {
                (line, true) => {
                    for x in row.iter_mut() {
                        *x += line[0];
                    }
                }
                (line, false) => {
                    for (x, bias) in row.iter_mut().zip(line) {
                        *x += *bias;
                    }
                }
            }
        }
        self.leave_out([sample, query], row, self.left_out);
    }

    /// Write what multiplies the weights of one query.
    #[inline(always)]
    pub fn dropout_factors(dropout: Dropout, line: usize, out: &mut [E]) {
        let factor = E::of(dropout.factor());
        let line = dropout.line(line);
        for (key, out) in out.iter_mut().enumerate() {
            *out = if line.keeps(key) { factor } else { E::ZERO };
        }
    }

    /// Write `value` where the masks leave a key out.
    #[inline(always)]
    pub fn leave_out(&self, [sample, query]: [usize; 2], row: &mut [E], value: E) {
        let seen = self.seen(query);
        row[..seen.start].fill(value);
        row[seen.end..].fill(value);
        for mask in &self.masks {
            match mask.line(&[sample, query]) {
                (line, true) => {
                    if line[0] != 0 {
                        row.fill(value);
                    }
                }
                (line, false) => {
                    for (x, out) in row.iter_mut().zip(line) {
                        *x = if *out != 0 { value } else { *x };
                    }
                }
            }
        }
    }
}
