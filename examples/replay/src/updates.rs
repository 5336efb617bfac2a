//! The updates of exact methods from inner products of rows, or from the rows themselves.

use burn_ief::methods::{Ef, Ief, Sf, Solution, System, UpdateRule};
use burn_ief::solve::{Coefficients, DampedMatrix, Damping, Symmetric};

use crate::kind::Lambda;

/// λ as the reference has it: absolute, on the Gram matrix, with no floor.
pub fn damping(lambda: &Lambda) -> Damping {
    let damping = Damping::absolute(lambda.value);
    damping.on(DampedMatrix::Gram).without_floor()
}

/// The update of EF (`ef`) or iEF (`ief`). `norms` are s, and `epsilon` is that of the Gram matrix.
///
/// # Errors
///
/// Those of the solve.
pub fn exact(
    rule: &str,
    gram: &Symmetric,
    norms: &[f64],
    damping: Damping,
    epsilon: f64,
) -> Result<Coefficients, burn_ief::Error> {
    let system = System::from_gram(gram.clone(), norms.len())
        .with_output_norms(norms.to_vec())
        .with_damping(damping)
        .with_epsilon(epsilon);
    let solution = match rule {
        "ef" => Ef::default().solve(&system)?,
        _ => Ief::default().solve(&system)?,
    };
    solution.into_coefficients()
}

/// The update of SF as a combination of the rows of J, then of Ĵ.
///
/// # Errors
///
/// Those of the solve.
pub fn sampled(
    gram: &Symmetric,
    matches: &[bool],
    damping: Damping,
    epsilon: f64,
) -> Result<Coefficients, burn_ief::Error> {
    let system = System::from_gram(gram.clone(), matches.len())
        .with_label_matches(matches.to_vec())
        .with_damping(damping)
        .with_epsilon(epsilon);
    Sf::default().solve(&system)?.into_coefficients()
}

/// The update of SF, or of the exact natural gradient, from the rows themselves, where there are no
/// more parameters than rows: the first `samples` rows are those of J, all others those of Ĵ.
///
/// # Errors
///
/// Those of the solve.
pub fn sampled_in_parameters(
    rows: &[Vec<f64>],
    samples: usize,
    damping: Damping,
    epsilon: f64,
) -> Result<Vec<f64>, burn_ief::Error> {
    let mut rows = rows.to_vec();
    let columns = rows.first().map_or(0, Vec::len);
    // Rows of zeros change nothing; with enough of them the system is solved in the parameters.
    while rows.len() < samples + columns {
        rows.extend(vec![vec![0.0; columns]; samples]);
    }
    let system = System::from_rows(rows, samples)
        .with_damping(damping)
        .with_epsilon(epsilon);
    match Sf::default().solve(&system)? {
        Solution::Parameters { update, .. } => Ok(update),
        _ => Err(burn_ief::Error::NoCoefficients),
    }
}
