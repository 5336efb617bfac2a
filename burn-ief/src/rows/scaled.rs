//! Rows whose entries are multiplied by factors of the parameter's entries.

use burn::tensor::{DType, Device, Tensor};

use super::{Lookup, Outer, Rows, to_dtype};

/// A factor for each entry of a parameter, as a matrix `[r, c]`.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one per parameter, so the size does not matter"
)]
pub(crate) enum EntryScale {
    /// The factor of entry (i, j) is `rows_i columns_j`. A vector of length 1 holds for all.
    Product {
        /// `[r]` or `[1]`.
        rows: Tensor<1>,
        /// `[c]` or `[1]`.
        columns: Tensor<1>,
    },
    /// Every factor by itself, `[r * c]`.
    Entries(Tensor<1>),
}

impl EntryScale {
    /// The square roots of the factors.
    pub fn root(&self) -> Self {
        match self {
            Self::Product { rows, columns } => Self::Product {
                rows: rows.clone().sqrt(),
                columns: columns.clone().sqrt(),
            },
            Self::Entries(entries) => Self::Entries(entries.clone().sqrt()),
        }
    }

    /// Where rows are.
    pub fn moved_to(&self, device: &Device, dtype: DType) -> Self {
        let moved = |x: &Tensor<1>| to_dtype(x.clone().to_device(device), dtype);
        match self {
            Self::Product { rows, columns } => Self::Product {
                rows: moved(rows),
                columns: moved(columns),
            },
            Self::Entries(entries) => Self::Entries(moved(entries)),
        }
    }

    /// Multiply dense rows `[m, r * c]`.
    pub fn times(&self, x: Tensor<2>, [r, c]: [usize; 2]) -> Tensor<2> {
        match self {
            Self::Product { rows, columns } => {
                let [m, _] = x.dims();
                let rows = rows.clone().unsqueeze::<3>().swap_dims(1, 2);
                let x = x.reshape([m, r, c]) * rows * columns.clone().unsqueeze::<3>();
                x.reshape([m, r * c])
            }
            Self::Entries(entries) => x * entries.clone().unsqueeze(),
        }
    }
}

impl Rows {
    /// The rows with every entry multiplied by its factor.
    ///
    /// Factored rows stay factored under a product.
    pub(crate) fn scaled(self, scale: &EntryScale, shape: [usize; 2]) -> Self {
        match (self, scale) {
            (Self::Outer(outer), EntryScale::Product { rows, columns })
                if outer.shape() == shape =>
            {
                assert!(!outer.bias, "the rows of a bias have factors of their own");
                Self::Outer(outer.scaled(rows, columns))
            }
            (Self::Lookup(lookup), EntryScale::Product { rows, columns })
                if lookup.shape() == shape =>
            {
                Self::Lookup(lookup.scaled(rows, columns))
            }
            (Self::Dense(rows), _) => Self::Dense(scale.times(rows, shape)),
            (rows, _) => Self::Dense(scale.times(rows.to_dense(), shape)),
        }
    }
}

impl Outer {
    fn scaled(self, rows: &Tensor<1>, columns: &Tensor<1>) -> Self {
        self.map_factors(
            |left| left * rows.clone().unsqueeze(),
            |right| right * columns.clone().unsqueeze(),
        )
    }
}

impl Lookup {
    fn scaled(self, rows: &Tensor<1>, columns: &Tensor<1>) -> Self {
        let [m, t, _] = self.right.dims();
        let right = self.right * columns.clone().unsqueeze();
        let rows: Tensor<3> = if rows.dims() == [1] {
            rows.clone().unsqueeze()
        } else {
            let read = rows
                .clone()
                .select(0, self.indices.clone().reshape([m * t]));
            read.reshape([m, t, 1])
        };
        Self {
            right: right * rows,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};
    use proptest::prelude::*;

    use super::*;

    fn noise<const D: usize>(shape: [usize; D]) -> Tensor<D> {
        Tensor::random(shape, Distribution::Uniform(0.5, 2.0), &Device::flex())
    }

    fn same(a: Tensor<2>, b: Tensor<2>) -> bool {
        (a - b).abs().max().into_scalar::<f32>() < 1e-4
    }

    proptest! {
        #[test]
        fn every_form_has_the_entries_of_its_dense_rows(
            m in 1..5usize, t in 1..4usize, i in 1..6usize, o in 1..6usize,
            whole_rows in any::<bool>(), whole_columns in any::<bool>(),
        ) {
            let shape = [i, o];
            let rows = noise([if whole_rows { 1 } else { i }]);
            let columns = noise([if whole_columns { 1 } else { o }]);
            let table = (noise::<2>([i, o]) * 0.0 + 1.0)
                * rows.clone().unsqueeze::<2>().transpose()
                * columns.clone().unsqueeze::<2>();
            let entries = table.reshape([i * o]);
            let product = EntryScale::Product { rows, columns };
            let ids = Tensor::<2>::random([m, t], Distribution::Uniform(0.0, i as f64), &Device::flex());
            for forms in [
                Rows::outer(noise([m, t, i]), noise([m, t, o])),
                Rows::Lookup(Lookup::new(ids.int(), noise([m, t, o]), i)),
                Rows::dense(noise([m, i * o])),
            ] {
                let expected = forms.to_dense() * entries.clone().unsqueeze();
                let scaled = forms.clone().scaled(&product, shape);
                prop_assert_eq!(
                    std::mem::discriminant(&scaled),
                    std::mem::discriminant(&forms)
                );
                prop_assert!(same(scaled.to_dense(), expected.clone()));
                let by_entry = forms.clone().scaled(&EntryScale::Entries(entries.clone()), shape);
                prop_assert!(same(by_entry.to_dense(), expected.clone()));
                let root = product.root();
                let twice = forms.clone().scaled(&root, shape).scaled(&root, shape);
                prop_assert!(same(twice.to_dense(), expected));
            }
        }
    }
}
