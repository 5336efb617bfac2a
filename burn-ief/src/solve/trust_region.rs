//! The trust region: a bound on the size of a step, measured by the curvature.

/// The factor that brings `½ curvature` down to `radius`, 1 if it is inside already.
pub(crate) fn trust_region_factor(curvature: f64, radius: f64) -> f64 {
    if curvature > 2.0 * radius {
        (2.0 * radius / curvature).sqrt()
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_outside_the_region_are_scaled_to_its_edge() {
        assert_eq!(trust_region_factor(2.0, 2.0), 1.0);
        let factor = trust_region_factor(2.0, 0.25);
        assert!((factor - 0.5).abs() < 1e-15);
        assert!((0.5 * 2.0 * factor * factor - 0.25).abs() < 1e-15);
        assert_eq!(trust_region_factor(0.0, 0.25), 1.0);
    }
}
