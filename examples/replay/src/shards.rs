//! How the samples of a case are divided: each shard is measured on its own, and where.

use std::ops::Range;

use burn::module::Module;
use burn_ief::exchange::Exchange;

use crate::case::Case;
use crate::error::Error;
use crate::place::Place;

/// Sizes of the shards of a case, and the places where they are measured; without sizes, all samples are measured
/// together.
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
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shards {
    sizes: Vec<usize>,
    /// Where shards are measured, in turn; empty for that of everything else.
    places: Vec<Place>,
    exchange: Exchange,
}

/// A model at one place.
pub(crate) struct Replica<M> {
    pub place: Place,
    pub model: M,
}

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
        Ok(Self {
            sizes: sizes.split(',').map(size).collect::<Result<_, _>>()?,
            ..Self::default()
        })
    }

    /// Measure the shards at these places, in turn. What is not divided is computed elsewhere: at the place that
    /// [`golden`](crate::golden()) and [`sft`](crate::sft()) get.
    pub fn at(mut self, places: Vec<Place>) -> Self {
        self.places = places;
        self
    }

    /// How the devices of the shards exchange their rows.
    pub fn with_exchange(mut self, exchange: Exchange) -> Self {
        self.exchange = exchange;
        self
    }

    /// How the devices of the shards exchange their rows.
    pub(crate) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// The model at the place of each shard.
    pub(crate) fn replicas<M: Module>(&self, model: &M, home: &Place) -> Vec<Replica<M>> {
        let places = if self.places.is_empty() {
            std::slice::from_ref(home)
        } else {
            &self.places
        };
        let replica = |place: &Place| Replica {
            place: place.clone(),
            model: if place == home {
                model.clone()
            } else {
                model.clone().fork(&place.device)
            },
        };
        places.iter().map(replica).collect()
    }

    /// The samples of each shard, in order.
    ///
    /// # Errors
    ///
    /// [`Error::Arguments`] if the sizes do not sum to the number of samples.
    pub fn ranges(&self, samples: usize) -> Result<Vec<Range<usize>>, Error> {
        if self.sizes.is_empty() {
            return Ok(std::iter::once(0..samples).collect());
        }
        let total = self
            .sizes
            .iter()
            .fold(0usize, |sum, &size| sum.saturating_add(size));
        if total != samples {
            let sizes: Vec<String> = self.sizes.iter().map(ToString::to_string).collect();
            return Err(Error::Arguments {
                problem: format!(
                    "--shards {} sum to {total}: expected {samples}, the samples of the case",
                    sizes.join(",")
                ),
            });
        }
        let mut start = 0;
        let ranges = self.sizes.iter().map(|size| {
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
