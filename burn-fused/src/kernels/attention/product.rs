//! Small matrix products with factors in the cache.

use pulp::Simd;

use crate::kernels::real::Real;

/// Rows of the output that are formed together.
const ROWS: usize = 4;

/// Entries of an output row that are formed together: sizes of outputs are padded to a multiple.
#[inline(always)]
pub(super) fn step<E: Real, S: Simd>() -> usize {
    2 * E::lanes::<S>()
}

/// The left factor of a product, `[m, k]`, with this many entries between its rows; `TURNED`
/// stores `[k, m]`.
#[derive(Clone, Copy)]
pub(super) struct Left<'a, E, const TURNED: bool> {
    pub entries: &'a [E],
    pub stride: usize,
}

/// Sizes of a product `[rows, depth] [depth, columns]`, the columns padded to a multiple of
/// [`step`], also in the right factor and the output.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub rows: usize,
    pub depth: usize,
    pub columns: usize,
}

/// `out = scale · left right`, or with `ADD` `out += scale · left right`.
#[inline(always)]
pub(super) fn product<E: Real, S: Simd, const TURNED: bool, const ADD: bool>(
    simd: S,
    sizes: Sizes,
    scale: E,
    left: Left<'_, E, TURNED>,
    right: &[E],
    out: &mut [E],
) {
    let Sizes { rows, columns, .. } = sizes;
    let step = step::<E, S>();
    let whole = rows / ROWS * ROWS;
    for column in (0..columns).step_by(step) {
        for row in (0..whole).step_by(ROWS) {
            block::<E, S, TURNED, ADD, ROWS>(simd, sizes, scale, left, right, out, [row, column]);
        }
        for row in whole..rows {
            block::<E, S, TURNED, ADD, 1>(simd, sizes, scale, left, right, out, [row, column]);
        }
    }
}

/// The block of `N` rows and one step of columns that starts at `[row, column]`.
#[inline(always)]
fn block<E: Real, S: Simd, const TURNED: bool, const ADD: bool, const N: usize>(
    simd: S,
    sizes: Sizes,
    scale: E,
    left: Left<'_, E, TURNED>,
    right: &[E],
    out: &mut [E],
    [row, column]: [usize; 2],
) {
    let Sizes { depth, columns, .. } = sizes;
    let step = step::<E, S>();
    let zero = E::splat(simd, E::ZERO);
    let mut sums = [[zero; 2]; N];
    let lines = right[column..].chunks(columns).take(depth);
    if TURNED {
        let factors = left.entries[row..].chunks(left.stride);
        for (line, factors) in lines.zip(factors) {
            let factors: &[E; N] = factors.first_chunk().expect("rows of the left factor");
            add::<E, S, N>(simd, &mut sums, &line[..step], factors);
        }
    } else {
        let mut rows: [&[E]; N] = [&[]; N];
        for (i, line) in rows.iter_mut().enumerate() {
            *line = &left.entries[(row + i) * left.stride..][..depth];
        }
        for (at, line) in lines.enumerate() {
            let mut factors = [E::ZERO; N];
            for i in 0..N {
                factors[i] = rows[i][at];
            }
            add::<E, S, N>(simd, &mut sums, &line[..step], &factors);
        }
    }
    let scale = E::splat(simd, scale);
    for (i, sums) in sums.iter().enumerate() {
        let out = E::vectors_mut::<S>(&mut out[(row + i) * columns + column..][..step]);
        for half in 0..2 {
            out[half] = if ADD {
                E::vector_mul_add(simd, scale, sums[half], out[half])
            } else {
                E::vector_mul(simd, scale, sums[half])
            };
        }
    }
}

/// Add the products of a factor for each row with one step of a line.
///
/// A closure in its place would be a function of its own, compiled without the vectors of `S`.
#[inline(always)]
fn add<E: Real, S: Simd, const N: usize>(
    simd: S,
    sums: &mut [[E::Vector<S>; 2]; N],
    line: &[E],
    factors: &[E; N],
) {
    let line = E::vectors::<S>(line);
    let (first, second) = (line[0], line[1]);
    for i in 0..N {
        let factor = E::splat(simd, factors[i]);
        sums[i][0] = E::vector_mul_add(simd, factor, first, sums[i][0]);
        sums[i][1] = E::vector_mul_add(simd, factor, second, sums[i][1]);
    }
}

/// Copy `rows` rows of `width` entries, `stride` apart, to rows `padded` apart.
#[inline(always)]
pub(super) fn pack<E: Real>(
    x: &[E],
    stride: usize,
    [rows, width]: [usize; 2],
    padded: usize,
    out: &mut Vec<E>,
) {
    out.resize(rows * padded, E::ZERO);
    for (row, out) in out.chunks_exact_mut(padded).enumerate() {
        out[..width].copy_from_slice(&x[row * stride..][..width]);
    }
}

/// Copy `rows` rows of `width` entries, `stride` apart, to `width` rows `padded` apart.
#[inline(always)]
pub(super) fn turn<E: Real>(
    x: &[E],
    stride: usize,
    [rows, width]: [usize; 2],
    padded: usize,
    out: &mut Vec<E>,
) {
    out.resize(width * padded, E::ZERO);
    for row in 0..rows {
        let x = &x[row * stride..][..width];
        for (column, &x) in x.iter().enumerate() {
            out[column * padded + row] = x;
        }
    }
}

/// Copy packed rows back.
#[inline(always)]
pub(super) fn unpack<E: Real>(
    packed: &[E],
    padded: usize,
    width: usize,
    out: &mut [E],
    stride: usize,
) {
    for (row, packed) in packed.chunks_exact(padded).enumerate() {
        out[row * stride..][..width].copy_from_slice(&packed[..width]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulp::WithSimd;

    struct Check([usize; 3]);

    impl WithSimd for Check {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            check::<f32, S>(simd, self.0);
            check::<f64, S>(simd, self.0);
        }
    }

    fn check<E: Real, S: Simd>(simd: S, [rows, depth, width]: [usize; 3]) {
        let number = |i: usize| E::of((i * 7 % 11) as f64 - 5.0);
        let a: Vec<E> = (0..rows * depth).map(number).collect();
        let b: Vec<E> = (0..depth * width).map(|i| number(i + 3)).collect();
        let columns = width.next_multiple_of(step::<E, S>());
        let mut right = Vec::new();
        pack(&b, width, [depth, width], columns, &mut right);
        let mut turned = Vec::new();
        turn(&a, depth, [rows, depth], rows, &mut turned);
        let sizes = Sizes {
            rows,
            depth,
            columns,
        };
        let mut out = vec![E::ONE; rows * columns];
        let left = Left::<_, false> {
            entries: &a,
            stride: depth,
        };
        product::<E, S, false, false>(simd, sizes, E::of(2.0), left, &right, &mut out);
        let left = Left::<_, true> {
            entries: &turned,
            stride: rows,
        };
        product::<E, S, true, true>(simd, sizes, E::ONE, left, &right, &mut out);
        let mut found = vec![E::ZERO; rows * width];
        unpack(&out, columns, width, &mut found, width);
        for row in 0..rows {
            for column in 0..width {
                let mut sum = E::ZERO;
                for k in 0..depth {
                    sum += a[row * depth + k] * b[k * width + column];
                }
                // Small whole numbers: no rounding.
                assert_eq!(found[row * width + column], E::of(3.0) * sum);
            }
        }
    }

    #[test]
    fn products_of_all_sizes_are_right() {
        for rows in [1, 3, 4, 9] {
            for depth in [1, 2, 7] {
                for width in [1, 5, 8, 16, 33] {
                    pulp::Arch::new().dispatch(Check([rows, depth, width]));
                    pulp::Scalar::new().vectorize(Check([rows, depth, width]));
                }
            }
        }
    }
}
