//! Products of Jacobians that are read to the host: K = J Jᵀ and Jv.

use burn::tensor::Tensor;

use super::Jacobian;
use crate::error::Error;
use crate::host::{ReadOf, Reads, Values};
use crate::linalg::Symmetric;
use crate::params::Direction;

/// K = J Jᵀ.
pub(super) fn gram(jacobian: &Jacobian) -> Result<Symmetric, Error> {
    let mut reads = Reads::default();
    let gram = PendingGram::new(jacobian, &mut reads);
    gram.finish(&reads.execute())
}

/// Jv.
pub(super) fn image(jacobian: &Jacobian, v: &Direction) -> Vec<f64> {
    let mut reads = Reads::default();
    let image = PendingImage::new(jacobian, v, &mut reads);
    image.finish(&reads.execute())
}

/// The Gram matrix of one Jacobian and the image of v under another, read together.
pub(super) fn gram_and_image(
    of_gram: &Jacobian,
    of_image: &Jacobian,
    v: &Direction,
) -> Result<(Symmetric, Vec<f64>), Error> {
    let mut reads = Reads::default();
    let gram = PendingGram::new(of_gram, &mut reads);
    let image = PendingImage::new(of_image, v, &mut reads);
    let values = reads.execute();
    Ok((gram.finish(&values)?, image.finish(&values)))
}

/// J J'ᵀ `[M][M']`.
pub(super) fn cross(a: &Jacobian, b: &Jacobian) -> Vec<Vec<f64>> {
    let rows = a.samples().max(b.samples());
    let mut reads = Reads::default();
    let mut tiles = Vec::new();
    let mut row = 0;
    for part in &a.parts {
        let mut column = 0;
        for other in &b.parts {
            let product = part.cross(other, a.precision, rows);
            let size = [part.samples, other.samples];
            let scale = part.scale * other.scale;
            tiles.push(Tile::new([row, column], size, scale, product, &mut reads));
            column += other.samples;
        }
        row += part.samples;
    }
    let values = reads.execute();
    let mut all = vec![vec![0.0; b.samples()]; a.samples()];
    for tile in tiles {
        tile.each(&values, |row, column, value| all[row][column] = value);
    }
    all
}

/// A block of a matrix of products, from one pair of recordings.
struct Tile {
    /// Its first row and column.
    start: [usize; 2],
    size: [usize; 2],
    scale: f64,
    /// `None` if it is zero.
    values: Option<ReadOf>,
}

impl Tile {
    fn new(
        start: [usize; 2],
        size: [usize; 2],
        scale: f64,
        product: Option<Tensor<2>>,
        reads: &mut Reads,
    ) -> Self {
        Self {
            start,
            size,
            scale,
            values: product.map(|product| reads.float(product)),
        }
    }

    fn each(&self, values: &Values, mut put: impl FnMut(usize, usize, f64)) {
        let Some(place) = self.values else { return };
        let [row, column] = self.start;
        let values = values.scaled(place, self.scale);
        for (i, line) in values.chunks(self.size[1].max(1)).enumerate() {
            for (j, value) in line.iter().enumerate() {
                put(row + i, column + j, *value);
            }
        }
    }
}

/// K, being read.
struct PendingGram {
    size: usize,
    tiles: Vec<Tile>,
}

impl PendingGram {
    fn new(jacobian: &Jacobian, reads: &mut Reads) -> Self {
        let size = jacobian.samples();
        let precision = jacobian.precision;
        let mut tiles = Vec::new();
        let mut row = 0;
        for (i, part) in jacobian.parts.iter().enumerate() {
            let mut column = 0;
            for other in &jacobian.parts[..i] {
                let product = part.cross(other, precision, size);
                let shape = [part.samples, other.samples];
                let scale = part.scale * other.scale;
                tiles.push(Tile::new([row, column], shape, scale, product, reads));
                column += other.samples;
            }
            let own = part.gram(precision, size);
            let scale = part.scale * part.scale;
            tiles.push(Tile::new([row, row], [part.samples; 2], scale, own, reads));
            row += part.samples;
        }
        Self { size, tiles }
    }

    fn finish(self, values: &Values) -> Result<Symmetric, Error> {
        let size = self.size;
        let lower = match self.tiles.as_slice() {
            [
                Tile {
                    scale,
                    values: Some(place),
                    ..
                },
            ] => values.scaled(*place, *scale),
            tiles => {
                let mut lower = vec![0.0; size * size];
                for tile in tiles {
                    tile.each(values, |row, column, value| {
                        lower[row * size + column] = value;
                    });
                }
                lower
            }
        };
        let gram = Symmetric::new(size, lower);
        let bad: Vec<usize> = (0..size).filter(|&n| !gram.get(n, n).is_finite()).collect();
        if bad.is_empty() {
            Ok(gram)
        } else {
            Err(Error::NonFinite {
                what: "per-sample gradients",
                samples: bad,
            })
        }
    }
}

/// Jv, being read.
struct PendingImage(Vec<PartImage>);

struct PartImage {
    samples: usize,
    scale: f64,
    values: Option<ReadOf>,
}

impl PendingImage {
    fn new(jacobian: &Jacobian, v: &Direction, reads: &mut Reads) -> Self {
        let parts = jacobian.parts.iter().map(|part| PartImage {
            samples: part.samples,
            scale: part.scale,
            values: part.matvec(v).map(|image| reads.float(image)),
        });
        Self(parts.collect())
    }

    fn finish(self, values: &Values) -> Vec<f64> {
        let parts = self.0.into_iter();
        parts
            .flat_map(|part| match part.values {
                Some(place) => values.scaled(place, part.scale),
                None => vec![0.0; part.samples],
            })
            .collect()
    }
}
