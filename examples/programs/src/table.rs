//! Tables as text.

use comfy_table::presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED};
use comfy_table::{Cell, CellAlignment};

pub use comfy_table::Table;

/// How a table is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// With lines, for a terminal.
    Lines,
    /// As Markdown.
    Markdown,
}

/// A table under a header. Columns are aligned to the right, except those named in `left`.
///
/// ```
/// use programs::table::{Style, table};
///
/// let rows = [["sgd".to_string(), "1.00".into()], ["ief".into(), "0.97".into()]];
/// let text = table(Style::Markdown, ["method", "x SGD"], &[0], rows).to_string();
/// assert_eq!(text.lines().last(), Some("| ief    |  0.97 |"));
/// ```
pub fn table<R>(
    style: Style,
    header: impl IntoIterator<Item = impl Into<Cell>>,
    left: &[usize],
    rows: impl IntoIterator<Item = R>,
) -> Table
where
    R: IntoIterator<Item = String>,
{
    let mut table = Table::new();
    table.load_style(match style {
        Style::Lines => UTF8_FULL_CONDENSED,
        Style::Markdown => ASCII_MARKDOWN,
    });
    table.set_header(header.into_iter().map(Into::<Cell>::into));
    for row in rows {
        table.add_row(row.into_iter().map(Cell::new));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if !left.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A number for a cell, or a dash.
///
/// ```
/// use programs::table::number;
///
/// assert_eq!((number(Some(1.234), 1), number(None, 1)), ("1.2".into(), "–".into()));
/// ```
pub fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.digits$}"))
}
