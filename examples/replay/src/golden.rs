//! From a case to its results.

use crate::case::Case;
use crate::classifier::classifier;
use crate::error::Error;
use crate::grid::grid;
use crate::kind::Kind;
use crate::networks::{Cnn, Mlp, Transformer};
use crate::place::Place;
use crate::results::Results;
use crate::selection::Selection;
use crate::shards::Shards;

/// Recompute a case. Each shard is measured on its own, by its own forward and backward pass at its place, and
/// the update is that of all samples together. `place` is for everything that is not divided.
///
/// λ is absolute, on the Gram matrix for iEF, with no floor under it.
///
/// ```no_run
/// use replay::{Case, DeviceKind, Place, Precision, Selection, Shards, golden};
///
/// let case = Case::read("c_mlp.safetensors".as_ref())?;
/// let place = Place::open(DeviceKind::Flex, Precision::F64)?;
/// let selection = Selection::parse("gram,ief")?;
/// let results = golden(&case, &place, selection, &Shards::parse("3,5,8")?)?;
/// assert!(results.get("gram").is_some());
/// # Ok::<(), replay::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Arguments`] for shards that do not fit; [`Error::NothingAsked`] if the selection leaves nothing; everything that can be wrong with a
/// case; [`Error::Compute`].
pub fn golden(
    case: &Case,
    place: &Place,
    selection: Selection,
    shards: &Shards,
) -> Result<Results, Error> {
    selection.check(case)?;
    shards.check(case)?;
    let mut results = Results::new(selection);
    match case.kind {
        Kind::LeastSquares | Kind::Logistic => grid(case, place, shards, &mut results)?,
        Kind::Mlp => classifier::<Mlp>(case, place, shards, &mut results)?,
        Kind::Transformer => classifier::<Transformer>(case, place, shards, &mut results)?,
        Kind::Cnn => classifier::<Cnn>(case, place, shards, &mut results)?,
    }
    Ok(results)
}
