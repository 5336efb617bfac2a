//! The random matrices that all layers share.

use burn::tensor::TensorData;
use rand_mt::Mt;

/// A `[r, width_in]` and B `[width_out, r]` of this seed, bit for bit as PEFT draws them: PyTorch's
/// generator on CPU is the Mersenne Twister MT19937, a uniform f32 takes the lower 24 bits of one number,
/// and A is drawn before B.
pub(super) fn drawn(seed: usize, r: usize, width_in: usize, width_out: usize) -> [TensorData; 2] {
    // PyTorch takes the lower 32 bits of the seed.
    let mut generator = Mt::new(seed as u32);
    let mut uniform = |rows: usize, columns: usize| {
        // Kaiming's bound with the gain √2.
        let deviation = 2.0_f64.sqrt() / (columns as f64).sqrt();
        let bound = 3.0_f64.sqrt() * deviation;
        let (from, to) = (-bound as f32, bound as f32);
        let values = (0..rows * columns).map(|_| {
            let fraction = f64::from(generator.next_u32() & 0xff_ffff) / f64::from(1 << 24);
            (fraction * f64::from(to - from) + f64::from(from)) as f32
        });
        TensorData::new(values.collect::<Vec<f32>>(), [rows, columns])
    };
    let a = uniform(r, width_in);
    let b = uniform(width_out, r);
    [a, b]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `_kaiming_init((2, 3), g)` and `_kaiming_init((4, 2), g)` of PEFT 0.21.2 with PyTorch 2.15.0 and
    /// `g = torch.Generator("cpu").manual_seed(seed)`.
    #[test]
    fn matrices_are_those_of_pytorch() {
        for (seed, expected_a, expected_b) in GOLDEN {
            let [a, b] = drawn(seed, 2, 3, 4);
            assert_eq!(a.try_into_vec::<f32>().unwrap(), expected_a, "{seed}");
            assert_eq!(b.try_into_vec::<f32>().unwrap(), expected_b, "{seed}");
        }
    }

    const GOLDEN: [(usize, [f32; 6], [f32; 8]); 2] = [
        (
            0,
            [
                -0.010587962,
                0.7586458,
                -1.1639615,
                -1.040775,
                -0.5446905,
                0.37923178,
            ],
            [
                -0.034317434,
                1.3733249,
                -0.15370919,
                0.45832238,
                -0.5234484,
                -0.34046122,
                -1.6547121,
                -1.1471063,
            ],
        ),
        (
            4294967303,
            [
                0.098775856,
                -0.8519132,
                0.45031866,
                0.4437527,
                -0.75586444,
                -0.21195835,
            ],
            [
                -1.0146837,
                0.44941995,
                -0.46655852,
                1.2168293,
                1.2295592,
                0.17644474,
                -0.7384113,
                -1.0173395,
            ],
        ),
    ];
}
