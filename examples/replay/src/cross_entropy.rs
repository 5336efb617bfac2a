//! Cross-entropy whose gradient keeps its digits for samples that are fitted.

use burn::tensor::{Int, Tensor};

/// `log(1 + Σ_{c ≠ y} exp(z_c − z_y))` of every sample, `[M, 1]`.
///
/// The textbook's softmax − onehot subtracts two numbers near 1: where a sample is fitted to 1e-5,
/// eleven digits are left of its gradient in f64, and two in f32. Here nothing is subtracted but
/// logits; `∂l/∂z_y` is the negative sum of the others.
///
/// # Shapes
///
/// - logits: `[M, C]`
/// - labels: `[M, 1]`
pub fn cross_entropy(logits: Tensor<2>, labels: Tensor<2, Int>) -> Tensor<2> {
    let dims = logits.dims();
    let classes = Tensor::<1, Int>::arange(0..dims[1] as i64, &labels.device());
    let classes = classes.unsqueeze::<2>().expand(dims);
    let own = labels.clone().expand(dims).equal(classes);
    let lead = logits.clone() - logits.gather(1, labels);
    let lead = lead.mask_fill(own, f64::NEG_INFINITY);
    // Of the terms exp(lead − top) and exp(−top) the largest is 1, and none overflows.
    let top = lead.clone().detach().max_dim(1).clamp_min(0.0);
    let others = (lead - top.clone()).exp().sum_dim(1);
    let rest = others + (top.clone().neg().exp() - 1.0);
    rest.log1p() + top
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::activation::log_softmax;
    use burn::tensor::{Device, TensorData};

    fn both(logits: &[f32], label: i64) -> [(f32, Vec<f32>); 2] {
        let device = Device::flex().autodiff();
        let labels = || Tensor::<2, Int>::from_data([[label]], &device);
        let plain = |z| log_softmax(z, 1).gather(1, labels()).neg();
        let forms: [&dyn Fn(Tensor<2>) -> Tensor<2>; 2] = [&|z| cross_entropy(z, labels()), &plain];
        forms.map(|form| {
            let data = TensorData::new(logits.to_vec(), [1, logits.len()]);
            let z = Tensor::<2>::from_data(data, &device).require_grad();
            let loss = form(z.clone());
            let grads = loss.clone().backward();
            let gradient = z.grad(&grads).unwrap().into_data();
            (loss.into_scalar(), gradient.try_to_vec().unwrap())
        })
    }

    #[test]
    fn is_the_cross_entropy_for_any_label() {
        for logits in [[0.3, -1.0, 2.0], [200.0, -300.0, 0.0], [5.0; 3]] {
            for label in 0..3 {
                let [(found, gradient), (expected, reference)] = both(&logits, label);
                assert!(
                    (found - expected).abs() <= 1e-6 * (1.0 + expected),
                    "{logits:?}"
                );
                for (a, b) in gradient.iter().zip(&reference) {
                    assert!(
                        (a - b).abs() < 1e-6,
                        "{logits:?}: {gradient:?} {reference:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_fitted_sample_keeps_its_digits() {
        // p_1 = e⁻¹⁴ / (1 + e⁻¹⁴).
        let [(loss, gradient), _] = both(&[14.0, 0.0], 0);
        let p = (-14f64).exp() / (1.0 + (-14f64).exp());
        assert!(
            (f64::from(gradient[1]) / p - 1.0).abs() < 1e-6,
            "{gradient:?}"
        );
        assert_eq!(gradient[0], -gradient[1]);
        assert!(
            (f64::from(loss) / (-14f64).exp().ln_1p() - 1.0).abs() < 1e-6,
            "{loss}"
        );
    }

    #[test]
    fn one_class_costs_nothing() {
        let [(loss, gradient), _] = both(&[3.0], 0);
        assert_eq!((loss, gradient), (0.0, vec![0.0]));
    }
}
