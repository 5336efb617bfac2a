//! Panels with axes, curves, error bars and arrows, as SVG.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::Color as _;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use programs::plot::{Axis, Color, GRID, Places, TEXT};
use programs::{WriteError, files};

use crate::error::Error;

/// The SVG backend has whole coordinates: a drawing has so many of them to a pixel.
const UNITS: u32 = 4;

/// A part of a picture.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// What drawing returns.
pub type Drawn = Result<(), Box<dyn StdError>>;

/// Draw a picture of a size in pixels as `name` in `folder`, which is made.
///
/// # Errors
///
/// [`Error::Write`].
pub fn picture(
    folder: &Path,
    name: &str,
    (width, height): (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> Drawn,
) -> Result<PathBuf, Error> {
    files::make_folder(folder)?;
    let path = folder.join(name);
    let mut text = String::new();
    let size = (px(width), px(height));
    let drawn = {
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        root.fill(&WHITE)
            .map_err(|error| WriteError::new(&path, error))?;
        draw(&root).and_then(|()| root.present().map_err(Into::into))
    };
    drawn.map_err(|error| WriteError::new(&path, error))?;
    let units = format!("width=\"{}\" height=\"{}\"", size.0, size.1);
    let pixels = format!("width=\"{width}\" height=\"{height}\"");
    let text = text.replacen(&units, &pixels, 1);
    files::write(&path, text)?;
    Ok(path)
}

/// Units of the drawing.
pub fn px(pixels: u32) -> u32 {
    pixels * UNITS
}

/// How a curve looks, in the picture and in its legend.
///
/// ```
/// use programs::plot::Color;
/// use figures::chart::Look;
///
/// let look = Look { name: "iEF", color: Color::Green, dashed: false };
/// assert_ne!(look, Look { dashed: true, ..look });
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// Its name.
    pub name: &'static str,
    /// Its colour.
    pub color: Color,
    /// Dashes instead of a line.
    pub dashed: bool,
}

/// A panel: its axes, with a plot inside.
///
/// ```
/// use figures::chart::{Panel, picture};
/// use programs::plot::{Axis, Color};
///
/// let folder = std::env::temp_dir().join("figures-panel");
/// let path = picture(&folder, "line.svg", (300, 200), |area| {
///     let (x, y) = (Axis::linear("x", 0.0..1.0), Axis::log("y", 0.1..10.0));
///     let mut panel = Panel::new(area, "a line", x, y)?;
///     panel.curve(&[(0.0, 1.0), (1.0, 2.0)], Color::Blue.rgb(), 8)
/// })?;
/// assert!(std::fs::read_to_string(path).unwrap().contains("a line"));
/// # std::fs::remove_dir_all(folder).unwrap();
/// # Ok::<(), figures::Error>(())
/// ```
pub struct Panel<'a, 'b> {
    chart: ChartContext<'a, SVGBackend<'b>, Cartesian2d<Places, Places>>,
    x: Axis,
    y: Axis,
}

impl<'a, 'b> Panel<'a, 'b> {
    /// Draw the axes.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    pub fn new(
        area: &'a Area<'b>,
        caption: &str,
        x: Axis,
        y: Axis,
    ) -> Result<Self, Box<dyn StdError>> {
        let mut chart = ChartBuilder::on(area)
            .margin(px(6))
            .margin_right(px(14))
            .caption(caption, ("sans-serif", px(15), &TEXT))
            .x_label_area_size(px(35))
            .y_label_area_size(px(48))
            .build_cartesian_2d(Places::from(&x), Places::from(&y))?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(ShapeStyle::from(&GRID).stroke_width(px(1)))
            .axis_style(ShapeStyle::from(&TEXT).stroke_width(px(1)))
            .x_labels(x.ticks().len())
            .y_labels(y.ticks().len())
            .x_label_formatter(&|place| x.label(*place))
            .y_label_formatter(&|place| y.label(*place))
            .x_desc(&x.title)
            .y_desc(&y.title)
            .label_style(("sans-serif", px(12), &TEXT))
            .axis_desc_style(("sans-serif", px(13), &TEXT))
            .set_all_tick_mark_size(px(3))
            .draw()?;
        Ok(Self { chart, x, y })
    }

    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.x.place(x), self.y.place(y))
    }

    fn inside(&self, (x, y): (f64, f64)) -> bool {
        let within = |axis: &Axis, place: f64| {
            let range = axis.range();
            (range.start..=range.end).contains(&place)
        };
        within(&self.x, x) && within(&self.y, y)
    }

    /// Draw a curve of a width in quarters of a pixel; parts outside of the panel are left out.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    pub fn curve(&mut self, points: &[(f64, f64)], color: RGBColor, width: u32) -> Drawn {
        let places: Vec<_> = points.iter().map(|point| self.place(*point)).collect();
        let style = color.stroke_width(width);
        let parts = places.split(|place| !self.inside(*place));
        let parts = parts.filter(|part| part.len() > 1);
        let parts: Vec<_> = parts
            .map(|part| PathElement::new(part.to_vec(), style))
            .collect();
        self.chart.draw_series(parts)?;
        Ok(())
    }

    /// Draw points with bars of a length each, joined by a curve.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    pub fn estimates(&mut self, points: &[(f64, f64, f64)], look: Look) -> Drawn {
        let color = look.color.rgb();
        let shown = |(x, y, _): &&(f64, f64, f64)| self.inside(self.place((*x, *y)));
        let points: Vec<_> = points.iter().filter(shown).copied().collect();
        let places: Vec<_> = points
            .iter()
            .map(|(x, y, _)| self.place((*x, *y)))
            .collect();
        let style = color.stroke_width(px(2));
        if look.dashed {
            let dashes = DashedLineSeries::new(places.iter().copied(), px(5), px(4), style);
            self.chart.draw_series(dashes)?
        } else {
            self.chart
                .draw_series(LineSeries::new(places.iter().copied(), style))?
        };
        let bars: Vec<_> = points
            .iter()
            .filter(|(_, _, error)| error.is_finite())
            .map(|&(x, y, error)| {
                // On a logarithmic axis a bar that reaches zero has no end.
                let [low, high] = [y - error, y + error].map(|end| {
                    let place = self.y.place(end);
                    if place.is_nan() {
                        self.y.range().start
                    } else {
                        self.y.clamp(place)
                    }
                });
                let x = self.x.place(x);
                PathElement::new(vec![(x, low), (x, high)], color.stroke_width(px(1)))
            })
            .collect();
        self.chart.draw_series(bars)?;
        let dots = places
            .into_iter()
            .map(|place| Circle::new(place, px(2), color.filled()));
        self.chart.draw_series(dots)?;
        Ok(())
    }

    /// Draw a line from left to right at a height.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    pub fn across(&mut self, y: f64, color: RGBColor) -> Drawn {
        let (x, y) = (self.x.range(), self.y.place(y));
        if self.y.range().contains(&y) {
            let ends = vec![(x.start, y), (x.end, y)];
            let line = PathElement::new(ends, color.stroke_width(px(2)));
            self.chart.draw_series(std::iter::once(line))?;
        }
        Ok(())
    }

    /// Draw a dot of a radius in pixels.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    pub fn dot(&mut self, at: (f64, f64), color: RGBColor, radius: u32) -> Drawn {
        let place = self.place(at);
        if self.inside(place) {
            let dot = Circle::new(place, px(radius), color.filled());
            self.chart.draw_series(std::iter::once(dot))?;
        }
        Ok(())
    }

    /// Draw an arrow around its middle, in the units of a panel with linear axes.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    pub fn arrow(&mut self, (x, y): (f64, f64), (dx, dy): (f64, f64), color: RGBColor) -> Drawn {
        let tip = (x + dx / 2.0, y + dy / 2.0);
        let barb = |side: f64| {
            (
                tip.0 - 0.3 * dx - side * 0.18 * dy,
                tip.1 - 0.3 * dy + side * 0.18 * dx,
            )
        };
        let tail = (x - dx / 2.0, y - dy / 2.0);
        let path = vec![tail, tip, barb(1.0), tip, barb(-1.0)];
        self.chart.draw_series(std::iter::once(PathElement::new(
            path,
            color.stroke_width(UNITS),
        )))?;
        Ok(())
    }
}

/// Names of the curves in a row along the top, in the order given.
///
/// # Errors
///
/// Those of the backend.
pub fn legend(area: &Area<'_>, looks: &[Look], left: u32) -> Drawn {
    let mut x = px(left) as i32;
    let y = px(12) as i32;
    for look in looks {
        let style = look.color.rgb().stroke_width(px(3));
        let dashes = if look.dashed {
            vec![(0, 9), (14, 23)]
        } else {
            vec![(0, 23)]
        };
        for (from, to) in dashes {
            let ends = [from, to].map(|at| (x + at * UNITS as i32, y));
            area.draw(&PathElement::new(ends.to_vec(), style))?;
        }
        x += px(29) as i32;
        let text = ("sans-serif", px(14))
            .into_text_style(area)
            .color(&TEXT)
            .pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(look.name, (x, y), text))?;
        // Letters are about half as wide as high.
        x += px(7 * look.name.chars().count() as u32 + 24) as i32;
    }
    Ok(())
}
