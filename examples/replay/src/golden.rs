//! From a case to its results.

use crate::case::{Case, Kind};
use crate::classifier::classifier;
use crate::error::Error;
use crate::grid::grid;
use crate::networks::{Cnn, Mlp, Transformer};
use crate::place::Place;
use crate::results::Results;
use crate::selection::Selection;

/// Recompute a case.
///
/// λ is absolute, on the Gram matrix for iEF, with no floor under it.
///
/// ```no_run
/// use replay::{Case, DeviceKind, Place, Precision, Selection, golden};
///
/// let case = Case::read("c_mlp.safetensors".as_ref())?;
/// let place = Place::open(DeviceKind::Flex, Precision::F64)?;
/// let results = golden(&case, &place, Selection::parse("gram,ief")?)?;
/// assert!(results.get("gram").is_some());
/// # Ok::<(), replay::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::NothingAsked`] if the selection leaves nothing; everything that can be wrong with a
/// case; [`Error::Compute`].
pub fn golden(case: &Case, place: &Place, selection: Selection) -> Result<Results, Error> {
    selection.check(case)?;
    let mut results = Results::new(selection);
    match case.kind {
        Kind::LeastSquares | Kind::Logistic => grid(case, place, &mut results)?,
        Kind::Mlp => classifier::<Mlp>(case, place, &mut results)?,
        Kind::Transformer => classifier::<Transformer>(case, place, &mut results)?,
        Kind::Cnn => classifier::<Cnn>(case, place, &mut results)?,
    }
    Ok(results)
}
