//! Products of Jacobians that are read to the host: K = J Jᵀ and Jv.

use std::collections::HashMap;

use burn::tensor::Tensor;

use super::Jacobian;
use crate::error::Error;
use crate::host::{ReadOf, Reads, Values, on_device};
use crate::linalg::Symmetric;
use crate::params::{Direction, ParamInfo};

/// K = J Jᵀ.
pub(super) fn gram(jacobian: &Jacobian) -> Result<Symmetric, Error> {
    let mut reads = Reads::with_deadline(jacobian.deadline);
    let gram = PendingGram::new(jacobian, &mut reads)?;
    gram.finish(&reads.execute()?)
}

/// Jv.
pub(super) fn image(jacobian: &Jacobian, v: &Direction) -> Result<Vec<f64>, Error> {
    let mut reads = Reads::with_deadline(jacobian.deadline);
    let image = PendingImage::new(jacobian, v, &mut reads)?;
    Ok(image.finish(&reads.execute()?))
}

/// The Gram matrix of one Jacobian and the image of v under another, read together.
pub(super) fn gram_and_image(
    of_gram: &Jacobian,
    of_image: &Jacobian,
    v: &Direction,
) -> Result<(Symmetric, Vec<f64>), Error> {
    let mut reads = Reads::with_deadline(of_gram.deadline);
    let gram = PendingGram::new(of_gram, &mut reads)?;
    let image = PendingImage::new(of_image, v, &mut reads)?;
    let values = reads.execute()?;
    Ok((gram.finish(&values)?, image.finish(&values)))
}

/// J J'ᵀ `[M][M']`.
pub(super) fn cross(a: &Jacobian, b: &Jacobian) -> Result<Vec<Vec<f64>>, Error> {
    let rows = a.samples().max(b.samples());
    let mut reads = Reads::with_deadline(a.deadline);
    let mut tiles = Vec::new();
    for part in &a.parts {
        for other in &b.parts {
            let product = on_device(&part.device, || part.cross(other, a.precision, rows))?;
            let size = [part.samples, other.samples];
            let scale = part.scale * other.scale;
            let start = [part.start, other.start];
            tiles.push(Tile::new(start, size, scale, product, &mut reads));
        }
    }
    let values = reads.execute()?;
    let mut all = vec![vec![0.0; b.samples()]; a.samples()];
    for tile in tiles {
        tile.each(&values, |row, column, value| all[row][column] += value);
    }
    Ok(all)
}

/// Dense rows of some parameters, `[M][p]`, in one read.
pub(super) fn dense(jacobian: &Jacobian, params: &[ParamInfo]) -> Result<Vec<Vec<f64>>, Error> {
    let mut reads = Reads::with_deadline(jacobian.deadline);
    let mut blocks = Vec::new();
    for part in &jacobian.parts {
        let rows = on_device(&part.device, || part.to_dense(params))?;
        for (id, rows) in rows {
            blocks.push((part, id, reads.float(rows)));
        }
    }
    let values = reads.execute()?;
    let mut offsets = HashMap::new();
    let mut width = 0;
    for param in params {
        offsets.insert(param.id, (width, param.len()));
        width += param.len();
    }
    let mut lines = vec![vec![0.0; width]; jacobian.samples()];
    for (part, id, place) in blocks {
        let (offset, width) = offsets[&id];
        let values = values.scaled(place, part.scale);
        for (line, row) in lines[part.rows()]
            .iter_mut()
            .zip(values.chunks(width.max(1)))
        {
            let entries = line[offset..offset + width].iter_mut();
            entries.zip(row).for_each(|(sum, value)| *sum += value);
        }
    }
    Ok(lines)
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
    fn new(jacobian: &Jacobian, reads: &mut Reads) -> Result<Self, Error> {
        let size = jacobian.samples();
        let precision = jacobian.precision;
        let mut tiles = Vec::new();
        for (i, part) in jacobian.parts.iter().enumerate() {
            // Parts on different devices have rows for different parameters.
            let before = jacobian.parts[..i].iter();
            for other in before.filter(|other| other.device == part.device) {
                let product = on_device(&part.device, || part.cross(other, precision, size))?;
                let shape = [part.samples, other.samples];
                let scale = part.scale * other.scale;
                let start = [part.start, other.start];
                tiles.push(Tile::new(start, shape, scale, product, reads));
            }
            let own = on_device(&part.device, || part.gram(precision, size))?;
            let scale = part.scale * part.scale;
            let start = [part.start; 2];
            tiles.push(Tile::new(start, [part.samples; 2], scale, own, reads));
        }
        Ok(Self { size, tiles })
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
                        lower[row * size + column] += value;
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
struct PendingImage {
    size: usize,
    parts: Vec<PartImage>,
}

struct PartImage {
    start: usize,
    scale: f64,
    values: ReadOf,
}

impl PendingImage {
    fn new(jacobian: &Jacobian, v: &Direction, reads: &mut Reads) -> Result<Self, Error> {
        let mut parts = Vec::new();
        for part in &jacobian.parts {
            let image = on_device(&part.device, || part.matvec(v))?;
            parts.extend(image.map(|image| PartImage {
                start: part.start,
                scale: part.scale,
                values: reads.float(image),
            }));
        }
        Ok(Self {
            size: jacobian.samples(),
            parts,
        })
    }

    fn finish(self, values: &Values) -> Vec<f64> {
        let mut image = vec![0.0; self.size];
        for part in self.parts {
            let own = values.scaled(part.values, part.scale);
            let rows = image[part.start..].iter_mut();
            rows.zip(own).for_each(|(sum, own)| *sum += own);
        }
        image
    }
}
