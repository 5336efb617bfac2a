//! The record of an optimizer: moments, state of the method, and the number of steps.

use burn::optim::OptimizerRecord;
use burn::store::ModuleRecord;
use burn::tensor::Bytes;

use crate::error::Error;

/// First bytes of a record.
const MAGIC: &[u8; 8] = b"burnief1";

/// Everything that a [`NaturalOptimizer`](super::NaturalOptimizer) keeps from step to step.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_ief::optim::NaturalRecord;
/// use burn_ief::prelude::*;
///
/// let model = LinearConfig::new(3, 2).init(&Device::flex().autodiff());
/// let optim = IefConfig::new().init(&model);
/// let bytes = optim.to_record().into_bytes()?;
/// // … in another process:
/// let record = NaturalRecord::from_bytes(&bytes)?;
/// let optim = IefConfig::new().init(&model).load_record(record)?;
/// assert_eq!(optim.steps(), 0);
/// assert!(NaturalRecord::from_bytes(&bytes[1..]).is_err());
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug)]
pub struct NaturalRecord {
    /// The name of the method, then each parameter that it trains.
    pub(super) owner: Vec<String>,
    pub(super) steps: u64,
    pub(super) moments: OptimizerRecord,
    pub(super) state: ModuleRecord,
}

impl NaturalRecord {
    /// Serialise the record.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] if Burn cannot serialise one of its parts.
    pub fn into_bytes(self) -> Result<Vec<u8>, Error> {
        let moments = self.moments.into_bytes().map_err(Error::record)?;
        let state = self.state.into_bytes().map_err(Error::record)?;
        let owner = self.owner.join("\n");
        let size = 40 + owner.len() + moments.len() + state.len();
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.steps.to_le_bytes());
        for part in [owner.as_bytes(), &moments, &state] {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        Ok(bytes)
    }

    /// Read a serialised record.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] if the bytes are not a record, or are cut off.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut left = bytes;
        if take(&mut left, MAGIC.len())? != MAGIC {
            return Err(Error::Record {
                reason: "expected a record of this crate's optimizer, found other data".into(),
            });
        }
        let steps = number(&mut left)?;
        let owner = String::from_utf8(part(&mut left)?).map_err(Error::record)?;
        let moments = part(&mut left)?;
        let state = part(&mut left)?;
        if !left.is_empty() {
            return Err(Error::Record {
                reason: format!("expected the end of the record, found {} bytes", left.len()),
            });
        }
        let [moments, state] = [moments, state].map(Bytes::from_bytes_vec);
        Ok(Self {
            owner: owner.split('\n').map(String::from).collect(),
            steps,
            moments: OptimizerRecord::from_bytes(moments).map_err(Error::record)?,
            state: ModuleRecord::from_bytes(state).map_err(Error::record)?,
        })
    }

    /// Refuse the record of another method or of other parameters.
    pub(super) fn check_owner(&self, expected: &[String]) -> Result<(), Error> {
        let count = expected.len().max(self.owner.len());
        let differs = (0..count).find(|&index| expected.get(index) != self.owner.get(index));
        let Some(index) = differs else {
            return Ok(());
        };
        let name = |owner: &[String]| match owner.get(index) {
            Some(name) if index == 0 => format!("method `{name}`"),
            Some(parameter) => format!("parameter {parameter}"),
            None => "no more parameters".into(),
        };
        Err(Error::Record {
            reason: format!(
                "expected a record of {}, found one of {}; make the optimizer with the method, \
                 model and parameter group that the record was made with",
                name(expected),
                name(&self.owner)
            ),
        })
    }
}

/// The next `count` bytes.
fn take<'a>(left: &mut &'a [u8], count: usize) -> Result<&'a [u8], Error> {
    match left.split_at_checked(count) {
        Some((head, rest)) => {
            *left = rest;
            Ok(head)
        }
        None => Err(Error::Record {
            reason: format!("expected {count} more bytes, found {}", left.len()),
        }),
    }
}

fn number(left: &mut &[u8]) -> Result<u64, Error> {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(take(left, 8)?);
    Ok(u64::from_le_bytes(bytes))
}

fn part(left: &mut &[u8]) -> Result<Vec<u8>, Error> {
    let length = usize::try_from(number(left)?).unwrap_or(usize::MAX);
    Ok(take(left, length)?.to_vec())
}
