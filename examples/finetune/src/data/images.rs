//! A user's own pictures: a folder for each class.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageDecoder, ImageReader, Limits};
use programs::DeviceKind;
use programs::printing::{message, quoted_list};
use programs::reading;

use super::error::Error;
use super::pictures::scaled;
use super::split::{Parts, Repeats, arrange};
use super::{DataSource, ImageExample, LeftOut, Splits};
use crate::bounds;

/// Bytes of the largest picture: about 13,000 x 13,000 pixels.
const LARGEST: u64 = 512 << 20;

pub(super) const FILES: &str = "a folder with a folder of PNG or JPEG files for each class, \
                                perhaps inside of `train`, `valid` and `test`";
const EXTENSIONS: [&str; 3] = ["png", "jpg", "jpeg"];

pub(super) fn load(options: &DataSource) -> Result<Splits<ImageExample>, Error> {
    let folder = &options.folder;
    let part = |names: &[&str]| {
        let folders = names.iter().map(|name| folder.join(name));
        folders.into_iter().find(|path| path.is_dir())
    };
    let train = part(&["train"]);
    let inside = train.is_some();
    let train = train.unwrap_or_else(|| folder.clone());
    let labels = match &options.labels {
        Some(labels) => labels.clone(),
        None => class_names(&train)?,
    };
    if labels.len() < 2 {
        let problem = format!(
            "{} folders of classes, expected two or more: {FILES}",
            labels.len()
        );
        return Err(Error::file(&train, problem));
    }
    let read = |path: &Path| pictures(path, &labels, options.image_size);
    let held = |names: &[&str]| {
        if inside {
            part(names).map(|path| read(&path)).transpose()
        } else {
            Ok(None)
        }
    };
    let parts = Parts {
        train: read(&train)?,
        valid: held(&["valid", "validation", "val"])?,
        test: held(&["test"])?,
    };
    arrange(parts, Repeats::Drop, labels, LeftOut::default(), options)
}

/// Entries of a folder in the order of their names, without hidden ones.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = |source| Error::read(folder, source, FILES);
    let entries = std::fs::read_dir(folder).map_err(read)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(read));
    let mut paths = paths.collect::<Result<Vec<_>, _>>()?;
    paths.retain(|path| !name(path).starts_with('.'));
    paths.sort();
    Ok(paths)
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn class_names(folder: &Path) -> Result<Vec<String>, Error> {
    let folders = entries(folder)?.into_iter().filter(|path| path.is_dir());
    Ok(folders.map(|path| name(&path)).collect())
}

/// All pictures in the folders of the classes.
fn pictures(folder: &Path, labels: &[String], size: usize) -> Result<Vec<ImageExample>, Error> {
    let mut examples = Vec::new();
    let left = bounds::left(DeviceKind::Flex);
    for class in class_names(folder)? {
        let path = folder.join(&class);
        let Some(label) = labels.iter().position(|label| *label == class) else {
            let problem = format!("unknown class, expected one of {}", quoted_list(labels));
            return Err(Error::file(&path, problem));
        };
        let files = entries(&path)?.into_iter().filter(|path| is_picture(path));
        let count = examples.len();
        let files: Vec<PathBuf> = files.collect();
        let scaled_bytes = 3.0 * (size * size) as f64;
        let bytes = (count + files.len()) as f64 * scaled_bytes;
        if bytes > left {
            let problem = format!(
                "pictures up to this class take {} at {size} x {size} pixels, and {} of memory are left: expected \
                 a smaller `image_size`, or fewer pictures",
                bounds::size(bytes),
                bounds::size(left)
            );
            return Err(Error::file(&path, problem));
        }
        for file in files {
            examples.push(scaled(picture(&file, label)?, size));
        }
        if examples.len() == count {
            return Err(Error::file(&path, "no PNG or JPEG file for this class"));
        }
    }
    Ok(examples)
}

/// Whether a file is a picture by its name.
pub(crate) fn is_picture(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

/// A picture the way up that its camera noted.
pub(crate) fn picture(path: &Path, label: usize) -> Result<ImageExample, Error> {
    let read = |source| Error::read(path, source, FILES);
    let refuse =
        |error: image::ImageError| Error::file(path, format!("not a picture: {}", message(&error)));
    let file = reading::open(path).map_err(read)?;
    let reader = ImageReader::new(BufReader::new(file));
    let reader = reader.with_guessed_format().map_err(read)?;
    let mut decoder = reader.into_decoder().map_err(refuse)?;
    // The header is believed before a pixel is read: a file of a kilobyte can state any size.
    let bytes = decoder.total_bytes();
    if bytes > LARGEST {
        let (width, height) = decoder.dimensions();
        let [found, most] = [bytes, LARGEST].map(|bytes| bounds::size(bytes as f64));
        let problem = format!(
            "its header states {width} x {height} pixels, {found}; expected at most {most}"
        );
        return Err(Error::file(path, problem));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(2 * LARGEST);
    decoder.set_limits(limits).map_err(refuse)?;
    let orientation = decoder.orientation().map_err(refuse)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(refuse)?;
    picture.apply_orientation(orientation);
    let picture = picture.into_rgb8();
    Ok(ImageExample {
        height: picture.height() as usize,
        width: picture.width() as usize,
        pixels: picture.into_raw(),
        label,
    })
}
