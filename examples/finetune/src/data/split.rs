//! Training, validation and test without overlap.

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};
use std::hash::Hash;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::error::Error;
use super::example::{ImageExample, TextExample, TokenExample};
use super::source::DataSource;
use super::splits::{LeftOut, Splits};

/// An example that can be distinguished from others.
pub(crate) trait Example {
    /// What makes two of them the same.
    type Content<'e>: Eq + Hash
    where
        Self: 'e;

    fn content(&self) -> Self::Content<'_>;
    /// Parts have rows of each number in their shares.
    fn stratum(&self) -> usize;
    /// Whether the label is that of another row.
    fn agrees(&self, other: &Self) -> bool;
}

impl Example for TextExample {
    type Content<'e> = (&'e str, Option<&'e str>);

    fn content(&self) -> Self::Content<'_> {
        (&self.first, self.second.as_deref())
    }

    fn stratum(&self) -> usize {
        self.label.stratum()
    }

    fn agrees(&self, other: &Self) -> bool {
        self.label == other.label
    }
}

impl Example for TokenExample {
    type Content<'e> = &'e [String];

    fn content(&self) -> Self::Content<'_> {
        &self.words
    }

    fn stratum(&self) -> usize {
        0
    }

    fn agrees(&self, other: &Self) -> bool {
        self.tags == other.tags
    }
}

impl Example for ImageExample {
    type Content<'e> = (usize, usize, &'e [u8]);

    fn content(&self) -> Self::Content<'_> {
        (self.height, self.width, &self.pixels)
    }

    fn stratum(&self) -> usize {
        self.label
    }

    fn agrees(&self, other: &Self) -> bool {
        self.label == other.label
    }
}

/// The parts that the files have; those that are absent are cut from `train`.
#[derive(Debug)]
pub(crate) struct Parts<E> {
    pub(crate) train: Vec<E>,
    pub(crate) valid: Option<Vec<E>>,
    pub(crate) test: Option<Vec<E>>,
}

impl<E> Parts<E> {
    /// All rows in one.
    pub(super) fn pool(train: Vec<E>) -> Self {
        Self {
            train,
            valid: None,
            test: None,
        }
    }
}

/// What happens to rows of the training set that are there twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeats {
    Drop,
    Keep,
}

/// Drop duplicates, cut the parts that are absent, and take as many rows as the options say.
///
/// With [`Repeats::Keep`] no part may be absent: a repeated row could be in two parts otherwise.
pub(crate) fn arrange<E: Example>(
    parts: Parts<E>,
    repeats: Repeats,
    labels: Vec<String>,
    left_out: LeftOut,
    options: &DataSource,
) -> Result<Splits<E>, Error> {
    let mut splits = Splits {
        labels,
        left_out,
        ..Splits::default()
    };
    let Parts { train, valid, test } = parts;
    let given = [test, valid];
    let absent = given.each_ref().map(Option::is_none);
    let [test, valid] = given.map(Option::unwrap_or_default);
    let repeats = if absent.contains(&true) {
        Repeats::Drop
    } else {
        repeats
    };
    let [test, valid, train] = unique([test, valid, train], repeats, &mut splits.left_out);
    let order = |rows, stream| stratified(rows, options.seed, stream);
    let (mut test, mut valid, mut train) = (order(test, 0), order(valid, 1), order(train, 2));
    if train.is_empty() {
        return Err(Error::file(&options.folder, "no rows for training"));
    }
    let pool = train.len();
    for (part, absent, share, rows, names) in [
        (
            &mut test,
            absent[0],
            options.test_share,
            options.test_rows,
            ["test_rows", "test_share"],
        ),
        (
            &mut valid,
            absent[1],
            options.valid_share,
            options.valid_rows,
            ["valid_rows", "valid_share"],
        ),
    ] {
        let [by_rows, by_share] = names;
        match (absent, rows) {
            (true, Some(rows)) => part.extend(cut(&mut train, rows, by_rows)?),
            (true, None) => {
                // A part that is asked for is not empty.
                let least = usize::from(share > 0.0);
                let rows = (share * pool as f64).round() as usize;
                part.extend(cut(&mut train, rows.max(least), by_share)?);
            }
            (false, Some(rows)) => cap(part, rows, by_rows)?,
            (false, None) => {}
        }
    }
    if let Some(rows) = options.train_rows {
        cap(&mut train, rows, "train_rows")?;
    }
    Ok(Splits {
        train,
        valid,
        test,
        ..splits
    })
}

/// Halve rows by class.
pub(super) fn halves<E: Example>(rows: Vec<E>, seed: u64) -> [Vec<E>; 2] {
    let mut rows = stratified(rows, seed, 3);
    let second = rows.split_off(rows.len() / 2);
    [rows, second]
}

/// Take the first rows for another part; one at least stays.
fn cut<E>(rows: &mut Vec<E>, count: usize, option: &'static str) -> Result<Vec<E>, Error> {
    if count >= rows.len() {
        let expected = format!("fewer than the {} rows that are left", rows.len());
        return Err(Error::option(option, expected, format!("{count} rows")));
    }
    Ok(rows.drain(..count).collect())
}

/// Keep the first rows of a part.
fn cap<E>(rows: &mut Vec<E>, count: usize, option: &'static str) -> Result<(), Error> {
    if count > rows.len() {
        let expected = format!("at most the {} rows that there are", rows.len());
        return Err(Error::option(option, expected, count));
    }
    rows.truncate(count);
    Ok(())
}

/// Keep the first of rows with the same content over all parts.
///
/// The last part may keep its own repetitions.
fn unique<E: Example>(
    mut parts: [Vec<E>; 3],
    repeats: Repeats,
    left_out: &mut LeftOut,
) -> [Vec<E>; 3] {
    let mut seen: HashMap<E::Content<'_>, (usize, &E)> = HashMap::new();
    let mut keep = Vec::new();
    for (part, rows) in parts.iter().enumerate() {
        for row in rows {
            let first = match seen.entry(row.content()) {
                Entry::Vacant(place) => {
                    place.insert((part, row));
                    keep.push(true);
                    continue;
                }
                Entry::Occupied(place) => *place.get(),
            };
            let repeated = repeats == Repeats::Keep && part == 2 && first.0 == 2;
            keep.push(repeated);
            if !repeated {
                left_out.duplicates += 1;
                left_out.contradictions += usize::from(!first.1.agrees(row));
            }
        }
    }
    drop(seen);
    let mut keep = keep.into_iter();
    for rows in &mut parts {
        rows.retain(|_| keep.next().expect("one answer for each row"));
    }
    parts
}

/// Rows in an order by the seed in which any run of rows has the classes in their shares.
///
/// The i-th of the n rows of a class goes to the place (i + ½) / n of the whole.
fn stratified<E: Example>(rows: Vec<E>, seed: u64, stream: u64) -> Vec<E> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(stream);
    let mut classes: BTreeMap<usize, Vec<E>> = BTreeMap::new();
    for row in rows {
        classes.entry(row.stratum()).or_default().push(row);
    }
    let mut placed = Vec::new();
    for (_, mut rows) in classes {
        rows.shuffle(&mut generator);
        let count = rows.len() as f64;
        let place = |index: usize| (index as f64 + 0.5) / count;
        placed.extend(rows.into_iter().enumerate().map(|(i, row)| (place(i), row)));
    }
    placed.sort_by(|a, b| a.0.total_cmp(&b.0));
    placed.into_iter().map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// Rows with classes in the shares 6 : 3 : 1.
    fn rows(count: usize) -> Vec<TextExample> {
        let label = |i: usize| [0, 0, 0, 0, 0, 0, 1, 1, 1, 2][i % 10];
        (0..count)
            .map(|i| TextExample::new(format!("text {i}"), label(i)))
            .collect()
    }

    fn split(
        parts: Parts<TextExample>,
        options: &DataSource,
    ) -> Result<Splits<TextExample>, Error> {
        arrange(
            parts,
            Repeats::Drop,
            Vec::new(),
            LeftOut::default(),
            options,
        )
    }

    fn texts(rows: &[TextExample]) -> HashSet<&str> {
        rows.iter().map(|row| row.first.as_str()).collect()
    }

    #[test]
    fn a_pool_is_split_by_shares_and_classes() {
        let splits = split(Parts::pool(rows(1000)), &DataSource::new("x")).unwrap();
        let sizes = [&splits.train, &splits.valid, &splits.test].map(Vec::len);
        assert_eq!(sizes, [800, 100, 100]);
        for part in [&splits.valid, &splits.test] {
            for (class, expected) in [60, 30, 10].into_iter().enumerate() {
                let count = part
                    .iter()
                    .filter(|row| row.label.class() == Some(class))
                    .count();
                assert!(count.abs_diff(expected) <= 1, "class {class}: {count}");
            }
        }
    }

    #[test]
    fn fewer_training_rows_leave_validation_and_test_as_they_are() {
        let options = DataSource::new("x");
        let few = DataSource {
            train_rows: Some(40),
            ..options.clone()
        };
        let all = split(Parts::pool(rows(500)), &options).unwrap();
        let few = split(Parts::pool(rows(500)), &few).unwrap();
        assert_eq!((&few.valid, &few.test), (&all.valid, &all.test));
        assert_eq!(few.train, all.train[..40]);
    }

    #[test]
    fn rows_that_are_held_out_leave_the_training_set() {
        let parts = Parts {
            train: rows(30),
            valid: Some(rows(8)[4..].to_vec()),
            test: Some([rows(6), vec![TextExample::new("text 0", 2)]].concat()),
        };
        let splits = split(parts, &DataSource::new("x")).unwrap();
        let sizes = [&splits.train, &splits.valid, &splits.test].map(Vec::len);
        assert_eq!(sizes, [22, 2, 6]);
        assert_eq!(
            (splits.left_out.duplicates, splits.left_out.contradictions),
            (11, 1)
        );
    }

    #[test]
    fn published_training_sets_keep_their_repetitions() {
        let parts = Parts {
            train: [rows(10), rows(10)].concat(),
            valid: Some(rows(2)),
            test: Some(rows(12)[10..].to_vec()),
        };
        let options = DataSource::new("x");
        let splits = arrange(parts, Repeats::Keep, vec![], LeftOut::default(), &options).unwrap();
        assert_eq!(splits.train.len(), 16);
        assert_eq!(splits.left_out.duplicates, 4);
    }

    #[test]
    fn more_rows_than_there_are_is_an_error_by_option() {
        let refused = |options: DataSource, parts| match split(parts, &options).unwrap_err() {
            Error::Option { option, .. } => option,
            other => panic!("{other}"),
        };
        let options = || DataSource::new("x");
        let test = DataSource {
            test_rows: Some(10),
            ..options()
        };
        assert_eq!(refused(test, Parts::pool(rows(10))), "test_rows");
        let valid = DataSource {
            valid_rows: Some(3),
            ..options()
        };
        let parts = Parts {
            valid: Some(rows(2)),
            ..Parts::pool(rows(10))
        };
        assert_eq!(refused(valid, parts), "valid_rows");
        let train = DataSource {
            train_rows: Some(9),
            ..options()
        };
        assert_eq!(refused(train, Parts::pool(rows(10))), "train_rows");
        assert_eq!(refused(options(), Parts::pool(rows(2))), "valid_share");
        let nothing = split(Parts::pool(Vec::new()), &options()).unwrap_err();
        assert_eq!(nothing.to_string(), "x: no rows for training");
    }

    proptest! {
        #[test]
        fn no_text_is_in_two_parts_and_none_is_lost(
            names in prop::collection::vec((0usize..40, 0usize..3), 20..120),
            seed in any::<u64>(),
            held in 0usize..3,
        ) {
            let rows: Vec<_> = names
                .iter()
                .map(|(name, label)| TextExample::new(name.to_string(), *label))
                .collect();
            let (a, b) = (rows.len() / 4, rows.len() / 2);
            let parts = Parts {
                train: rows[b..].to_vec(),
                valid: (held > 0).then(|| rows[a..b].to_vec()),
                test: (held > 1).then(|| rows[..a].to_vec()),
            };
            let used = match held { 0 => &rows[b..], 1 => &rows[a..], _ => &rows[..] };
            let options = DataSource { seed, ..DataSource::new("x") };
            // All rows of the training set may be held out.
            let Ok(splits) = split(parts, &options) else { return Ok(()) };
            let parts = [&splits.train, &splits.valid, &splits.test];
            let sizes = parts.map(|part| texts(part).len());
            prop_assert_eq!(sizes, parts.map(Vec::len));
            let all: HashSet<_> = parts.iter().flat_map(|part| texts(part)).collect();
            prop_assert_eq!(all.len(), sizes.iter().sum::<usize>());
            prop_assert_eq!(all, texts(used));
            prop_assert_eq!(splits.left_out.duplicates, used.len() - sizes.iter().sum::<usize>());
        }

        #[test]
        fn splits_depend_on_the_seed_alone(seed in 0u64..1000) {
            let options = DataSource { seed, ..DataSource::new("x") };
            let first = split(Parts::pool(rows(60)), &options).unwrap();
            let same = split(Parts::pool(rows(60)), &options).unwrap();
            prop_assert_eq!(&first, &same);
            let other = DataSource { seed: seed + 1, ..options };
            let other = split(Parts::pool(rows(60)), &other).unwrap();
            prop_assert_ne!(first.train, other.train);
        }
    }
}
