//! Checks of the values of ids and masks.

use std::ops::Range;

use burn::tensor::{Int, Tensor};

use crate::error::Error;

/// Whether all values are in a range. This reads them to the host.
pub(crate) fn check_ids(
    name: &'static str,
    ids: &Tensor<2, Int>,
    range: Range<i64>,
) -> Result<(), Error> {
    let [_, length] = ids.dims();
    let data = ids.clone().into_data();
    let outside = data
        .iter::<i64>()
        .enumerate()
        .find(|(_, id)| !range.contains(id));
    let Some((at, found)) = outside else {
        return Ok(());
    };
    let (row, column, last) = (at / length, at % length, range.end - 1);
    Err(Error::Input {
        name,
        reason: format!(
            "expected {} to {last}, found {found} at [{row}, {column}]",
            range.start
        ),
    })
}

/// Whether the values of a mask are 1 for tokens and 0 for padding.
pub(crate) fn check_mask(name: &'static str, mask: Option<&Tensor<2, Int>>) -> Result<(), Error> {
    mask.map_or(Ok(()), |mask| check_ids(name, mask, 0..2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn values_outside_are_named_with_their_place() {
        let ids = Tensor::<2, Int>::from_data([[0, 3], [9, 2]], &Device::flex());
        assert!(check_ids("input_ids", &ids, 0..10).is_ok());
        let error = check_ids("input_ids", &ids, 0..9).unwrap_err();
        assert_eq!(
            error.to_string(),
            "input `input_ids`: expected 0 to 8, found 9 at [1, 0]"
        );
        assert!(check_mask("attention_mask", None).is_ok());
        assert!(check_mask("attention_mask", Some(&ids)).is_err());
        let empty = Tensor::<2, Int>::zeros([0, 3], &Device::flex());
        assert!(check_ids("input_ids", &empty, 0..1).is_ok());
    }
}
