//! The form in which rows go to another device, and what that takes.

use burn::tensor::{DType, Device};

use super::{Lookup, Rows};

/// What rows take on their way to another device and there.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct RowCost {
    /// Bytes to send.
    pub bytes: usize,
    /// Multiplications of their share of the Gram matrix with as many rows as these for every sample of
    /// the batch.
    pub work: f64,
}

impl RowCost {
    pub fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.work += other.work;
    }
}

impl Rows {
    /// As dense rows where these are smaller, and as they are everywhere else.
    fn smallest(self) -> Self {
        match self {
            Self::Outer(rows) if rows.is_larger_than_dense() => {
                assert!(!rows.bias, "the rows of a bias are not part of dense ones");
                Self::Dense(rows.to_dense())
            }
            Self::Lookup(rows) if rows.len() <= rows.width() => Self::Dense(rows.to_dense()),
            rows => rows,
        }
    }

    /// Whether dense rows take fewer bytes than these, which include the rows of a bias: the two have to be
    /// split before they are sent.
    pub(crate) fn is_split_to_send(&self) -> bool {
        matches!(self, Self::Outer(rows) if rows.bias && rows.is_larger_than_dense())
    }

    /// On another device, in the smallest form; the numbers of the rows in half precision on the way, if
    /// that is asked for.
    pub(crate) fn sent_to(self, device: &Device, half: bool) -> Self {
        let (own, dtype) = self.place();
        if own == *device {
            return self;
        }
        let rows = self.smallest();
        let narrow = half && !matches!(rows, Self::Vocabulary(_));
        if narrow && own.supports_dtype(DType::BF16) && device.supports_dtype(DType::BF16) {
            rows.cast(DType::BF16).moved_to(device).cast(dtype)
        } else {
            rows.moved_to(device)
        }
    }

    /// What these rows cost in a batch of `samples` rows.
    pub(crate) fn cost(&self, samples: usize) -> RowCost {
        let size = self.place().1.size();
        let own = self.samples();
        let pairs = (own * samples) as f64;
        match self {
            Self::Dense(rows) => RowCost {
                bytes: rows.shape().num_elements() * size,
                work: pairs * self.len() as f64,
            },
            Self::Outer(rows) => {
                let ([_, t, i], [_, _, o]) = (rows.left().dims(), rows.right().dims());
                let factors = t * (i + o);
                let dense = i * o + if rows.bias { o } else { 0 };
                let (t, i, o) = (t as f64, i as f64, o as f64);
                RowCost {
                    bytes: own * factors.min(dense) * size,
                    work: (pairs * t * t * (i + o)).min(own as f64 * t * i * o + pairs * i * o),
                }
            }
            Self::Lookup(rows) => {
                let [_, t, o] = rows.right.dims();
                let indices = own * t * rows.indices.dtype().size();
                RowCost {
                    bytes: if rows.len() <= rows.width() {
                        own * rows.len() * size
                    } else {
                        own * t * o * size + indices
                    },
                    work: pairs * (t * o) as f64,
                }
            }
            Self::Vocabulary(rows) => RowCost {
                bytes: rows.bytes(),
                work: pairs * rows.len() as f64,
            },
        }
    }
}

impl Lookup {
    /// Numbers of a sample's vectors.
    fn width(&self) -> usize {
        let [_, t, o] = self.right.dims();
        t * o
    }
}
