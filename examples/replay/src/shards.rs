//! How the samples of a case are divided: each shard is measured on its own.

use std::ops::Range;

use crate::case::Case;
use crate::error::Error;

/// Sizes of the shards of a case; without any, all samples are measured together.
///
/// ```
/// use replay::Shards;
///
/// let shards = Shards::parse("3,5,8")?;
/// assert_eq!(shards.ranges(16)?, [0..3, 3..8, 8..16]);
/// assert!(shards.ranges(15).is_err());
/// assert_eq!(Shards::default().ranges(4)?, [0..4]);
/// # Ok::<(), replay::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shards(Vec<usize>);

impl Shards {
    /// Sizes, separated by commas.
    ///
    /// # Errors
    ///
    /// [`Error::Arguments`] for anything but whole numbers of at least 1.
    pub fn parse(sizes: &str) -> Result<Self, Error> {
        let size = |text: &str| {
            let size = text.trim().parse().ok().filter(|&size| size > 0);
            size.ok_or_else(|| Error::Arguments {
                problem: format!(
                    "--shards {sizes}: expected whole numbers of at least 1, found `{text}`"
                ),
            })
        };
        Ok(Self(sizes.split(',').map(size).collect::<Result<_, _>>()?))
    }

    /// The samples of each shard, in order.
    ///
    /// # Errors
    ///
    /// [`Error::Arguments`] if the sizes do not sum to the number of samples.
    pub fn ranges(&self, samples: usize) -> Result<Vec<Range<usize>>, Error> {
        if self.0.is_empty() {
            return Ok(std::iter::once(0..samples).collect());
        }
        let total = self
            .0
            .iter()
            .fold(0usize, |sum, &size| sum.saturating_add(size));
        if total != samples {
            let sizes: Vec<String> = self.0.iter().map(ToString::to_string).collect();
            return Err(Error::Arguments {
                problem: format!(
                    "--shards {} sum to {total}: expected {samples}, the samples of the case",
                    sizes.join(",")
                ),
            });
        }
        let mut start = 0;
        let ranges = self.0.iter().map(|size| {
            let range = start..start + size;
            start = range.end;
            range
        });
        Ok(ranges.collect())
    }

    /// Find out before computing whether the shards fit a case.
    ///
    /// # Errors
    ///
    /// As [`ranges`](Self::ranges), and [`Error::Missing`] if the case has no labels.
    pub fn check(&self, case: &Case) -> Result<(), Error> {
        let samples = case.shape("labels")?.first().copied().unwrap_or(0);
        self.ranges(samples).map(|_| ())
    }
}
