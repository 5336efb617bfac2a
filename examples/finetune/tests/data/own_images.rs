//! A user's own folder of pictures.

use std::io::Cursor;

use finetune::data::{DataSource, Task};
use image::{ImageFormat, Rgb, RgbImage};

use super::{all, folder, images, refused};

/// A picture of one colour as a file.
fn picture(colour: [u8; 3], size: [u32; 2], format: ImageFormat) -> Vec<u8> {
    let picture = RgbImage::from_pixel(size[0], size[1], Rgb(colour));
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn png(shade: u8) -> Vec<u8> {
    picture([shade, 0, 0], [5, 3], ImageFormat::Png)
}

#[test]
fn folders_are_classes_and_pictures_are_scaled() {
    let jpeg = picture([0, 0, 200], [40, 30], ImageFormat::Jpeg);
    let folder = folder(&[
        ("red/1.png", &png(200)),
        ("red/2.PNG", &png(201)),
        ("red/notes.txt", b"not a picture"),
        ("blue/1.jpeg", &jpeg),
        (".hidden/1.png", &png(1)),
    ]);
    let options = DataSource {
        image_size: 6,
        valid_share: 0.0,
        test_share: 0.0,
        ..DataSource::new(folder.path())
    };
    let splits = images(Task::Images, &options).unwrap();
    assert_eq!(splits.labels, ["blue", "red"]);
    assert_eq!(splits.train.len(), 3);
    for row in &splits.train {
        assert_eq!((row.height, row.width, row.pixels.len()), (6, 6, 108));
        let [red, _, blue] = row.pixels[..3] else {
            panic!()
        };
        assert_eq!(row.label, usize::from(red > blue));
    }
}

#[test]
fn parts_have_folders_of_their_own() {
    let folder = folder(&[
        ("train/a/1.png", &png(1)),
        ("train/a/2.png", &png(2)),
        ("train/b/3.png", &png(3)),
        ("train/b/4.png", &png(4)),
        ("valid/a/5.png", &png(5)),
        ("test/b/6.png", &png(6)),
        ("test/a/1.png", &png(1)),
    ]);
    let splits = images(
        Task::Images,
        &DataSource {
            image_size: 2,
            ..DataSource::new(folder.path())
        },
    );
    let splits = splits.unwrap();
    let sizes = [&splits.train, &splits.valid, &splits.test].map(Vec::len);
    assert_eq!((sizes, splits.left_out.duplicates), ([3, 1, 2], 1));
    assert_eq!(all(&splits).len(), 6);
}

#[test]
fn what_does_not_fit_is_named() {
    let refused = |files: &[(&str, &[u8])]| refused(Task::Images, folder(files).path());
    let png = png(9);
    let cut = refused(&[("a/1.png", &png), ("b/2.png", &png[..png.len() / 2])]);
    assert!(cut.starts_with("b/2.png: not a picture: "), "{cut}");
    let other = refused(&[("a/1.png", &png), ("b/2.jpg", b"GIF89a")]);
    assert!(other.starts_with("b/2.jpg: not a picture: "), "{other}");
    let empty = refused(&[("a/1.png", &png), ("b/2.txt", b"")]);
    assert_eq!(empty, "b: no PNG or JPEG file for this class");
    let one = refused(&[("a/1.png", &png)]);
    assert!(
        one.contains("1 folders of classes, expected two or more"),
        "{one}"
    );
    let unknown = refused(&[
        ("train/a/1.png", &png),
        ("train/b/1.png", &png),
        ("test/c/1.png", &png),
    ]);
    assert_eq!(unknown, "test/c: unknown class, expected one of `a`, `b`");
}
