//! The embedded digits: decoding, split, batches.

use burn::tensor::{Device, Int, Tensor, TensorData};
use flate2::read::GzDecoder;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::error::Error;

/// Pixels along one side of an image.
pub const SIDE: usize = 8;
const PIXELS: usize = SIDE * SIDE;
const LARGEST: u8 = 16;

static FILE: &[u8] = include_bytes!("../data/digits.csv.gz");

/// One image and the digit on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Digit {
    /// Values 0 to 16, by rows.
    pub pixels: [u8; PIXELS],
    /// 0 to 9.
    pub label: u8,
}

impl Digit {
    /// The image moved down and to the right; what comes in is empty.
    fn moved(&self, (dy, dx): (isize, isize)) -> Self {
        let inside = |x: isize| (0..SIDE as isize).contains(&x);
        let pixels = std::array::from_fn(|index| {
            let (y, x) = ((index / SIDE) as isize - dy, (index % SIDE) as isize - dx);
            if inside(y) && inside(x) {
                self.pixels[y as usize * SIDE + x as usize]
            } else {
                0
            }
        });
        Self { pixels, ..*self }
    }
}

/// Training and test images.
#[derive(Debug, Clone)]
pub struct Split {
    /// Two thirds.
    pub train: Vec<Digit>,
    /// Every third image, never trained on.
    pub test: Vec<Digit>,
}

impl Split {
    /// Decode the embedded images and split them by position.
    ///
    /// ```
    /// let split = quickstart::data::Split::load()?;
    /// assert_eq!((split.train.len(), split.test.len()), (1198, 599));
    /// # Ok::<(), quickstart::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`digits`].
    pub fn load() -> Result<Self, Error> {
        let mut split = Self {
            train: Vec::new(),
            test: Vec::new(),
        };
        for (index, digit) in digits()?.into_iter().enumerate() {
            match index % 3 {
                0 => split.test.push(digit),
                _ => split.train.push(digit),
            }
        }
        Ok(split)
    }

    /// Add copies of the training images that are moved by one pixel, eight of each.
    pub fn with_moved_copies(mut self) -> Self {
        let moves = (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (dy, dx)));
        let moved = moves.flat_map(|by| self.train.iter().map(move |digit| digit.moved(by)));
        self.train = moved.collect();
        self
    }

    /// The images of the digits below `classes` alone.
    pub fn below(mut self, classes: usize) -> Self {
        for part in [&mut self.train, &mut self.test] {
            part.retain(|digit| usize::from(digit.label) < classes);
        }
        self
    }
}

/// Decode the embedded images.
///
/// # Errors
///
/// [`Error::Data`] naming the line.
pub fn digits() -> Result<Vec<Digit>, Error> {
    decode(FILE)
}

fn decode(file: &[u8]) -> Result<Vec<Digit>, Error> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(GzDecoder::new(file));
    let lines = reader.deserialize::<Vec<u8>>().enumerate();
    lines
        .map(|(index, fields)| {
            let refuse = |problem: String| Error::Data {
                line: index + 1,
                problem,
            };
            let fields = fields.map_err(|error| refuse(error.to_string()))?;
            let Some((&label, pixels)) = fields.split_last() else {
                return Err(refuse("no fields".into()));
            };
            let pixels: [u8; PIXELS] = pixels
                .try_into()
                .map_err(|_| refuse(format!("{} pixels, not {PIXELS}", pixels.len())))?;
            if label > 9 || pixels.iter().any(|&pixel| pixel > LARGEST) {
                return Err(refuse("a label above 9 or a pixel above 16".into()));
            }
            Ok(Digit { pixels, label })
        })
        .collect()
}

/// A batch of M images.
#[derive(Debug, Clone)]
pub struct Batch {
    /// `[M, 8, 8]`, values −1 to 1.
    pub images: Tensor<3>,
    /// `[M]`.
    pub labels: Tensor<1, Int>,
}

impl Batch {
    /// Of these images.
    pub fn new(digits: &[Digit], device: &Device) -> Self {
        let m = digits.len();
        let middle = f32::from(LARGEST) / 2.0;
        let pixels = digits.iter().flat_map(|digit| digit.pixels);
        let pixels: Vec<f32> = pixels
            .map(|pixel| f32::from(pixel) / middle - 1.0)
            .collect();
        let labels: Vec<i64> = digits.iter().map(|digit| digit.label.into()).collect();
        Self {
            images: Tensor::from_data(TensorData::new(pixels, [m, SIDE, SIDE]), device),
            labels: Tensor::from_data(TensorData::new(labels, [m]), device),
        }
    }

    /// Share of the images whose largest logit, of `[M, classes]`, is that of the label.
    pub fn share_of_right(&self, logits: Tensor<2>) -> f64 {
        let found = logits.argmax(1).squeeze_dim::<1>(1);
        let right = found.equal(self.labels.clone()).int().sum();
        let [count] = self.labels.dims();
        right.into_scalar::<i64>() as f64 / count.max(1) as f64
    }
}

/// Batches of `size` images in an order that depends on the seed and the epoch (from 0) alone.
pub fn shuffled(digits: &[Digit], size: usize, seed: u64, epoch: u64) -> Vec<Vec<Digit>> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(epoch);
    let mut order: Vec<usize> = (0..digits.len()).collect();
    order.shuffle(&mut generator);
    let batches = order.chunks(size);
    batches
        .map(|batch| batch.iter().map(|&index| digits[index].clone()).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// Counts from the UCI description of the test set (`optdigits.names`).
    const COUNTS: [usize; 10] = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180];

    #[test]
    fn the_embedded_file_holds_what_uci_describes() {
        let digits = digits().unwrap();
        assert_eq!(digits.len(), 1797);
        let mut counts = [0; 10];
        digits
            .iter()
            .for_each(|d| counts[usize::from(d.label)] += 1);
        assert_eq!(counts, COUNTS);
        // First line of the file: a zero.
        assert_eq!(digits[0].label, 0);
        assert_eq!(digits[0].pixels[..8], [0, 0, 5, 13, 9, 1, 0, 0]);
    }

    #[test]
    fn the_split_is_disjoint_and_pretraining_sees_no_higher_digit() {
        let split = Split::load().unwrap();
        assert_eq!(split.train.len() + split.test.len(), 1797);
        let few = split.clone().below(5);
        assert!(few.train.iter().chain(&few.test).all(|d| d.label < 5));
        assert_eq!(
            few.train.len() + few.test.len(),
            COUNTS[..5].iter().sum::<usize>()
        );
        // No image (by value) is in both parts.
        assert!(split.test.iter().all(|d| !split.train.contains(d)));
    }

    #[test]
    fn moved_copies_keep_what_stays_inside() {
        let split = Split::load().unwrap();
        let before = split.train.len();
        let split = split.with_moved_copies();
        assert_eq!(split.train.len(), 9 * before);
        let digit = Digit {
            pixels: std::array::from_fn(|i| if i == 9 || i == 63 { 16 } else { 0 }),
            label: 7,
        };
        assert_eq!(digit.moved((0, 0)), digit);
        let moved = digit.moved((1, -1));
        assert_eq!((moved.pixels[16], moved.label), (16, 7));
        assert_eq!(moved.pixels.iter().filter(|&&pixel| pixel > 0).count(), 1);
    }

    #[test]
    fn batches_are_scaled() {
        let digit = Digit {
            pixels: std::array::from_fn(|i| if i == 9 { 16 } else { 0 }),
            label: 7,
        };
        let batch = Batch::new(&vec![digit; 3], &Device::flex());
        assert_eq!(batch.images.dims(), [3, 8, 8]);
        let values = batch.images.into_data().try_to_vec::<f32>().unwrap();
        assert_eq!((values[9], values[10]), (1.0, -1.0));
        let labels = batch.labels.into_data().convert::<i64>();
        assert_eq!(labels.try_to_vec::<i64>().unwrap(), [7, 7, 7]);
    }

    #[test]
    fn an_epoch_has_every_image_once_in_an_order_of_its_own() {
        let digits = digits().unwrap();
        let epoch = |seed, epoch| shuffled(&digits, 32, seed, epoch);
        let batches = epoch(1, 0);
        assert_eq!((batches.len(), batches[56].len()), (57, 5));
        assert_eq!(batches, epoch(1, 0));
        assert_ne!(batches, epoch(1, 1));
        assert_ne!(batches, epoch(2, 0));
        let mut counts = [0; 10];
        for digit in batches.iter().flatten() {
            counts[usize::from(digit.label)] += 1;
        }
        assert_eq!(counts, COUNTS);
    }

    #[test]
    fn a_damaged_file_is_refused_by_line() {
        let encode = |text: &str| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let good = format!("{}3\n", "1,".repeat(64));
        assert_eq!(decode(&encode(&good)).unwrap().len(), 1);
        for bad in [
            "1,".repeat(63) + "3",
            "1,".repeat(64) + "12",
            "17,".repeat(64) + "3",
        ] {
            let text = format!("{good}{bad}\n");
            let error = decode(&encode(&text)).unwrap_err();
            assert!(matches!(error, Error::Data { line: 2, .. }), "{error}");
        }
        assert!(decode(&FILE[..1000]).is_err());
    }
}
