//! The two precisions that kernels are written for, with functions that vectorise.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

use burn::tensor::Element;
use bytemuck::Pod;
use pulp::Simd;

/// f32 or f64.
///
/// The functions that a kernel calls for every entry have no branches and are always inlined, so
/// that the compiler can form vectors of the width that the processor has.
pub(crate) trait Real:
    Element
    + Pod
    + PartialOrd
    + Debug
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + MulAssign
    + 'static
{
    const ZERO: Self;
    const ONE: Self;
    const NEG_INFINITY: Self;
    /// The lowest finite number.
    const LOWEST: Self;
    /// The smallest positive normal number.
    const SMALLEST: Self;

    fn of(x: f64) -> Self;
    fn abs(self) -> Self;
    fn sqrt(self) -> Self;
    fn ln(self) -> Self;
    fn tanh(self) -> Self;
    /// `exp(x)` for `x ≤ 0`; zero where the result is not above the smallest normal
    /// number by more than a per cent.
    fn exp_down(self) -> Self;
    /// The normal distribution function Φ(x), and `exp(-x²/2)`.
    fn normal(self) -> (Self, Self);

    /// A vector of the width of `S`.
    type Vector<S: Simd>: Copy;
    /// Entries of a vector.
    fn lanes<S: Simd>() -> usize;
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S>;
    fn vector_mul<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a b + c`.
    fn vector_mul_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
    /// As many whole vectors as there are.
    fn vectors<S: Simd>(entries: &[Self]) -> &[Self::Vector<S>];
    fn vectors_mut<S: Simd>(entries: &mut [Self]) -> &mut [Self::Vector<S>];
}

/// What both implementations have in common.
macro_rules! shared {
    ($float:ident, $vectors:ident, $lanes:ident, $splat:ident, $mul:ident, $mul_add:ident, $as:ident, $as_mut:ident) => {
        const ZERO: Self = 0.0;
        const ONE: Self = 1.0;
        const NEG_INFINITY: Self = $float::NEG_INFINITY;
        const LOWEST: Self = $float::MIN;
        const SMALLEST: Self = $float::MIN_POSITIVE;

        #[inline(always)]
        fn of(x: f64) -> Self {
            x as $float
        }
        #[inline(always)]
        fn abs(self) -> Self {
            self.abs()
        }
        #[inline(always)]
        fn sqrt(self) -> Self {
            self.sqrt()
        }
        #[inline(always)]
        fn ln(self) -> Self {
            self.ln()
        }

        type Vector<S: Simd> = S::$vectors;
        #[inline(always)]
        fn lanes<S: Simd>() -> usize {
            S::$lanes
        }
        #[inline(always)]
        fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S> {
            simd.$splat(x)
        }
        #[inline(always)]
        fn vector_mul<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S> {
            simd.$mul(a, b)
        }
        #[inline(always)]
        fn vector_mul_add<S: Simd>(
            simd: S,
            a: Self::Vector<S>,
            b: Self::Vector<S>,
            c: Self::Vector<S>,
        ) -> Self::Vector<S> {
            simd.$mul_add(a, b, c)
        }
        #[inline(always)]
        fn vectors<S: Simd>(entries: &[Self]) -> &[Self::Vector<S>] {
            S::$as(entries).0
        }
        #[inline(always)]
        fn vectors_mut<S: Simd>(entries: &mut [Self]) -> &mut [Self::Vector<S>] {
            S::$as_mut(entries).0
        }
    };
}

impl Real for f32 {
    shared!(
        f32,
        f32s,
        F32_LANES,
        splat_f32s,
        mul_f32s,
        mul_add_e_f32s,
        as_simd_f32s,
        as_mut_simd_f32s
    );

    /// A polynomial near zero, where `1 - 2 / (exp(2x) + 1)` cancels.
    #[inline(always)]
    fn tanh(self) -> Self {
        const C: [f32; 5] = [
            -5.704_988_7e-3,
            2.063_909e-2,
            -5.373_971_6e-2,
            1.333_144_2e-1,
            -3.333_328e-1,
        ];
        let square = self * self;
        let mut p = C[0];
        for c in &C[1..] {
            p = p * square + c;
        }
        let near = p * square * self + self;
        let size = self.abs();
        let e = (-2.0 * size).exp_down();
        let far = (1.0 - e) / (1.0 + e);
        let far = if self < 0.0 { -far } else { far };
        if size < 0.625 { near } else { far }
    }

    /// `2ⁿ exp(r)` with `|r| ≤ ln 2 / 2` and a polynomial for `exp(r)`; two units in the last place.
    #[inline(always)]
    fn exp_down(self) -> Self {
        // Adding it rounds to an integer, which is then in the lowest bits.
        const ROUND: f32 = 12_582_912.0;
        // ln 2 in two parts, the first with few digits: its product with n is exact.
        const LN_2_HIGH: f32 = 0.693_359_4;
        const LN_2_LOW: f32 = -2.121_944_4e-4;
        const C: [f32; 6] = [
            1.987_569_2e-4,
            1.398_2e-3,
            8.333_452e-3,
            4.166_579_6e-2,
            1.666_666_5e-1,
            0.5,
        ];
        const LEAST: f32 = -87.33;
        let x = if self < LEAST { LEAST } else { self };
        let shifted = x * std::f32::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
        let mut p = C[0];
        for c in &C[1..] {
            p = p * r + c;
        }
        let mantissa = p * (r * r) + r + 1.0;
        let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
        if self < LEAST { 0.0 } else { mantissa * power }
    }

    /// `Φ(-|x|) = exp(-x²/2) R(t)` with `t = 1 / (1 + 0.4 |x| / √2)` and a polynomial R fitted to
    /// relative error (1e-8): one form for all x, and no cancellation where Φ is small.
    #[inline(always)]
    fn normal(self) -> (Self, Self) {
        const C: [f32; 11] = [
            -1.972_11e-2,
            1.274_021_1e-1,
            -3.211_458_6e-1,
            3.780_959_8e-1,
            -2.388_611_7e-1,
            1.954_950_7e-1,
            4.028_340_8e-2,
            1.141_745_8e-1,
            1.113_134_4e-1,
            1.129_684_7e-1,
            -4.938_371_6e-6,
        ];
        let t = 1.0 / (1.0 + (0.4 * std::f32::consts::FRAC_1_SQRT_2) * self.abs());
        let mut r = C[0];
        for c in &C[1..] {
            r = r * t + c;
        }
        let e = (-0.5 * self * self).exp_down();
        let tail = r * e;
        (if self > 0.0 { 1.0 - tail } else { tail }, e)
    }
}

impl Real for f64 {
    shared!(
        f64,
        f64s,
        F64_LANES,
        splat_f64s,
        mul_f64s,
        mul_add_e_f64s,
        as_simd_f64s,
        as_mut_simd_f64s
    );

    #[inline(always)]
    fn tanh(self) -> Self {
        self.tanh()
    }

    /// As for f32, with the Taylor series, whose error is below the last place.
    #[inline(always)]
    fn exp_down(self) -> Self {
        const ROUND: f64 = 6_755_399_441_055_744.0;
        const LN_2_HIGH: f64 = 6.931_457_519_531_25e-1;
        const LN_2_LOW: f64 = 1.428_606_820_309_417_2e-6;
        // 1 / 13! to 1 / 2!.
        const C: [f64; 12] = [
            1.0 / 6_227_020_800.0,
            1.0 / 479_001_600.0,
            1.0 / 39_916_800.0,
            1.0 / 3_628_800.0,
            1.0 / 362_880.0,
            1.0 / 40_320.0,
            1.0 / 5_040.0,
            1.0 / 720.0,
            1.0 / 120.0,
            1.0 / 24.0,
            1.0 / 6.0,
            0.5,
        ];
        const LEAST: f64 = -708.39;
        let x = if self < LEAST { LEAST } else { self };
        let shifted = x * std::f64::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
        let mut p = C[0];
        for c in &C[1..] {
            p = p * r + c;
        }
        let mantissa = p * (r * r) + r + 1.0;
        let power = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
        if self < LEAST { 0.0 } else { mantissa * power }
    }

    #[inline(always)]
    fn normal(self) -> (Self, Self) {
        let cdf = 0.5 * libm::erfc(-self * std::f64::consts::FRAC_1_SQRT_2);
        (cdf, (-0.5 * self * self).exp_down())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From -`most` to `most`.
    fn points(most: f64) -> impl Iterator<Item = f64> {
        (-20_000..=20_000).map(move |k| most * f64::from(k) / 20_000.0)
    }

    #[test]
    fn exponentials_are_right_to_the_last_places() {
        for x in points(90.0).filter(|x| *x <= 0.0) {
            let narrow = x as f32;
            let exact = f64::from(narrow).exp();
            let error = (f64::from(narrow.exp_down()) - exact).abs();
            assert!(error <= 2e-7 * exact + 1.2e-38, "{x}");
        }
        for x in points(720.0).filter(|x| *x <= 0.0) {
            let error = (x.exp_down() - x.exp()).abs();
            assert!(error <= 5e-16 * x.exp() + 2.3e-308, "{x}");
        }
        assert_eq!((0.0f32.exp_down(), 0.0f64.exp_down()), (1.0, 1.0));
    }

    #[test]
    fn the_normal_distribution_is_right_in_its_tails() {
        for x in points(12.0) {
            let narrow = x as f32;
            let exact = 0.5 * libm::erfc(-f64::from(narrow) * std::f64::consts::FRAC_1_SQRT_2);
            let (cdf, density) = narrow.normal();
            // The square in the exponential is rounded: x² / 2 times half a last place.
            let bound = (6e-7 + 6e-8 * x * x) * exact + 2e-38;
            assert!((f64::from(cdf) - exact).abs() <= bound, "{x}");
            assert!((f64::from(density) - (-0.5 * x * x).exp()).abs() <= 4e-7);
        }
    }

    #[test]
    fn tangents_are_right_near_zero_too() {
        for x in points(12.0).chain(points(1e-3)) {
            let narrow = x as f32;
            let exact = f64::from(narrow).tanh();
            let error = (f64::from(Real::tanh(narrow)) - exact).abs();
            assert!(error <= 3e-7 * exact.abs(), "{x}");
        }
    }

    #[test]
    fn no_number_and_infinity_are_kept() {
        assert!(f32::NAN.exp_down().is_nan() && f64::NAN.exp_down().is_nan());
        assert!(f32::NAN.normal().0.is_nan() && f64::NAN.normal().0.is_nan());
        assert!(Real::tanh(f32::NAN).is_nan());
        assert_eq!(f32::NEG_INFINITY.exp_down(), 0.0);
        assert_eq!(f64::NEG_INFINITY.exp_down(), 0.0);
        assert_eq!(Real::tanh(f32::INFINITY), 1.0);
        assert_eq!(Real::tanh(f32::NEG_INFINITY), -1.0);
        assert_eq!(f32::INFINITY.normal().0, 1.0);
    }
}
