//! Text messages: the table `sms-spam.csv`.

use super::error::Error;
use super::lines::locate;
use super::split::{Parts, Repeats, arrange};
use super::table::{Columns, Format, LabelColumns, Labels};
use super::{DataSource, LeftOut, Splits, TextExample};

pub(super) const FILES: &str = "a folder with `sms-spam.csv`";
const FILE: &str = "sms-spam.csv";

pub(super) fn load(options: &DataSource) -> Result<Splits<TextExample>, Error> {
    let mut left_out = LeftOut::default();
    let path = locate(&options.folder, &[FILE], FILES)?;
    let columns = Columns {
        text: "text",
        second: None,
        label: LabelColumns::One("spam"),
        quotes: Some(true),
    };
    let rows = Format::Csv.rows(&path, &columns, &mut left_out)?;
    let labels = Labels::classes(["0", "1"].map(String::from).to_vec());
    let rows = labels.apply(&path, rows)?;
    let names = ["ham", "spam"].map(String::from).to_vec();
    arrange(Parts::pool(rows), Repeats::Drop, names, left_out, options)
}
