//! Colours of curves.

use plotters::style::RGBColor;

/// Texts and axes.
pub const TEXT: RGBColor = RGBColor(64, 64, 64);
/// Lines of a grid.
pub const GRID: RGBColor = RGBColor(225, 225, 225);

/// Colours that people with any colour vision can tell apart (Okabe and Ito, 2008).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// Blue.
    Blue,
    /// Bluish green.
    Green,
    /// Reddish purple.
    Purple,
    /// Orange.
    Orange,
    /// Sky blue.
    Sky,
    /// Vermillion.
    Vermillion,
    /// Olive, a darker form of the palette's yellow.
    Olive,
    /// Black.
    Black,
    /// Grey, for what others are compared with.
    Grey,
}

impl Color {
    /// As plotters takes it, for pictures of other kinds.
    ///
    /// ```
    /// assert_eq!(programs::plot::Color::Blue.rgb(), plotters::style::RGBColor(0, 114, 178));
    /// ```
    pub fn rgb(self) -> RGBColor {
        match self {
            Self::Blue => RGBColor(0, 114, 178),
            Self::Green => RGBColor(0, 158, 115),
            Self::Purple => RGBColor(204, 121, 167),
            Self::Orange => RGBColor(230, 159, 0),
            Self::Sky => RGBColor(86, 180, 233),
            Self::Vermillion => RGBColor(213, 94, 0),
            Self::Olive => RGBColor(138, 129, 0),
            Self::Black => RGBColor(0, 0, 0),
            Self::Grey => RGBColor(120, 120, 120),
        }
    }
}
