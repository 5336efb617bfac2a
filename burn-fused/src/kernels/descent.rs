//! The step of gradient descent.

use burn::backend::flex::FlexTensor;
use burn::tensor::DType;

use super::memory::{CHUNK, dense, each_chunk, entries, overwrite, wide};
use super::real::Real;

/// `keep p - step u`, for dtypes that kernels take.
pub(crate) fn descend(p: FlexTensor, u: &FlexTensor, step: f64, keep: f64) -> FlexTensor {
    match p.dtype() {
        DType::F32 => of::<f32>(p, u, step, keep),
        DType::F64 => of::<f64>(p, u, step, keep),
        other => unreachable!("a kernel for {other:?}"),
    }
}

fn of<E: Real>(p: FlexTensor, u: &FlexTensor, step: f64, keep: f64) -> FlexTensor {
    let u = dense(u);
    let u = entries::<E>(&u);
    let (step, keep) = (E::of(step), E::of(keep));
    overwrite::<E>(p, |p| {
        each_chunk(p, CHUNK, |start, p| {
            let u = &u[start..][..p.len()];
            wide(
                #[inline(always)]
                || add(p, u, step, keep),
            );
        });
    })
}

#[inline(always)]
fn add<E: Real>(p: &mut [E], u: &[E], step: E, keep: E) {
    // Without decay there is one rounding less.
    if keep == E::ONE {
        for (p, u) in p.iter_mut().zip(u) {
            *p = *p - step * *u;
        }
    } else {
        for (p, u) in p.iter_mut().zip(u) {
            *p = keep * *p - step * *u;
        }
    }
}
