//! Fields, paths and lengths of updates, panels side by side.

use std::path::{Path, PathBuf};

use plotters::style::RGBColor;
use programs::plot::Axis;

use super::field::{Arrow, Field, Point};
use super::{Problem, Rule, Toy};
use crate::chart::{Area, Drawn, Panel, legend, picture, px};
use crate::error::Error;
use crate::table;

const SIZE: (u32, u32) = (880, 640);
/// Above the panels.
const LEGEND: u32 = 24;
/// Share of the distance between two arrows that an arrow takes.
const ARROW: f64 = 0.12;
/// Of the arrows.
const PALE: RGBColor = RGBColor(160, 160, 160);
/// Of the lines of equal loss.
const FAINT: RGBColor = RGBColor(205, 215, 225);

/// Draw a problem as `toy_<problem>.svg` in `folder`, with `_field`, `_paths` and `_lengths` as
/// CSV files next to it.
///
/// # Errors
///
/// [`Error::Method`], [`Error::Write`].
pub fn draw(folder: &Path, toy: &Toy) -> Result<PathBuf, Error> {
    let fields = Rule::ALL.map(|rule| Field::of(toy, rule));
    let fields = fields.into_iter().collect::<Result<Vec<_>, _>>()?;
    let name = toy.problem.name();
    let arrows = fields.iter().flat_map(|f| f.arrows.iter().chain(&f.zoomed));
    let arrows: Vec<_> = arrows.copied().collect();
    table::write(folder, &format!("toy_{name}_field.csv"), &arrows)?;
    let paths = fields
        .iter()
        .flat_map(|f| f.paths.iter().chain(&f.zoomed_paths));
    let points = paths.flatten();
    let points: Vec<_> = points.copied().collect();
    table::write(folder, &format!("toy_{name}_paths.csv"), &points)?;
    let lengths = fields.iter().flat_map(|field| field.lengths.iter());
    let lengths: Vec<_> = lengths.copied().collect();
    table::write(folder, &format!("toy_{name}_lengths.csv"), &lengths)?;
    picture(folder, &format!("toy_{name}.svg"), SIZE, |root| {
        panels(root, toy.problem, &fields)
    })
}

fn panels(root: &Area<'_>, problem: Problem, fields: &[Field]) -> Drawn {
    let (top, rest) = root.split_vertically(px(LEGEND));
    legend(&top, &Rule::ALL.map(Rule::look), 56)?;
    let areas = rest.split_evenly((2, 3));
    for (field, area) in fields.iter().zip(&areas) {
        let name = field.rule.look().name;
        let caption = match field.rule {
            Rule::Ngd => format!("{name} (exact)"),
            _ => format!("{name}: {:.0}° from NGD on average", field.mean_angle()),
        };
        let all = View {
            caption: &caption,
            middle: [0.0; 2],
            half: problem.reach(),
            arrows: &field.arrows,
            paths: &field.paths,
        };
        square(area, problem, field.rule, &all)?;
    }
    if let Some(ef) = fields.iter().find(|field| field.rule == Rule::Ef) {
        let (middle, half) = problem.zoom();
        let near = View {
            caption: match problem {
                Problem::LeastSquares => "EF near the optimum",
                Problem::Logistic => "EF where both are fitted",
            },
            middle,
            half,
            arrows: &ef.zoomed,
            paths: &ef.zoomed_paths,
        };
        square(&areas[4], problem, ef.rule, &near)?;
    }
    lengths(&areas[5], fields)
}

/// What a square shows of a field.
struct View<'a> {
    caption: &'a str,
    middle: [f64; 2],
    half: f64,
    arrows: &'a [Arrow],
    paths: &'a [Vec<Point>],
}

fn square(area: &Area<'_>, problem: Problem, rule: Rule, view: &View<'_>) -> Drawn {
    let View { middle, half, .. } = *view;
    let [x, y] = [0, 1].map(|axis| middle[axis] - half..middle[axis] + half);
    let x = Axis::linear("offset θ₀", x).with_labels(5);
    let y = Axis::linear("slope θ₁", y).with_labels(5);
    let mut panel = Panel::new(area, view.caption, x, y)?;
    for level in contours(problem, middle, half) {
        panel.curve(&problem.contour(level, 80), FAINT, px(1))?;
    }
    for arrow in view.arrows {
        let size = arrow.update_offset.hypot(arrow.update_slope);
        if size > 0.0 {
            let length = -ARROW * half / size;
            let along = (arrow.update_offset * length, arrow.update_slope * length);
            panel.arrow((arrow.offset, arrow.slope), along, PALE)?;
        }
    }
    let color = rule.look().color.rgb();
    for path in view.paths {
        let points: Vec<_> = path.iter().map(|p| (p.offset, p.slope)).collect();
        panel.curve(&points, color, px(2))?;
        panel.dot(points[0], color, 4)?;
    }
    if problem == Problem::LeastSquares {
        panel.dot((0.0, 0.0), plotters::style::BLACK, 3)?;
    }
    Ok(())
}

/// Losses of a few lines of equal loss.
fn contours(problem: Problem, middle: [f64; 2], half: f64) -> Vec<f64> {
    let corners =
        [-1.0, 1.0].map(|a| [-1.0, 1.0].map(|b| [middle[0] + a * half, middle[1] + b * half]));
    let losses = corners
        .as_flattened()
        .iter()
        .map(|theta| problem.loss(*theta));
    let highest = losses.fold(0.0, f64::max);
    (0..6).map(|i| highest / 3f64.powi(i)).collect()
}

fn lengths(area: &Area<'_>, fields: &[Field]) -> Drawn {
    let all = || fields.iter().flat_map(|field| &field.lengths);
    let x = Axis::log_around("summed loss", all().map(|l| l.loss)).with_labels(4);
    let y = Axis::log_around("length of the update", all().map(|l| l.length)).with_labels(6);
    let mut panel = Panel::new(area, "length of the update", x, y)?;
    for field in fields {
        let look = field.rule.look();
        let color = look.color.rgb();
        let points: Vec<_> = field.lengths.iter().map(|l| (l.loss, l.length)).collect();
        if look.dashed {
            // The curve of iEF covers that of NGD: draw every second piece.
            for piece in points.chunks(3).step_by(2) {
                panel.curve(piece, color, px(3))?;
            }
        } else {
            panel.curve(&points, color, px(2))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn pictures_are_small_and_have_their_numbers_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        for problem in Problem::ALL {
            let toy = Toy::new(problem, &Device::flex()).unwrap();
            let path = draw(folder.path(), &toy).unwrap();
            let svg = std::fs::read_to_string(&path).unwrap();
            assert!(svg.len() < 300_000, "{}", svg.len());
            assert!(svg.contains("width=\"880\" height=\"640\""));
            for text in ["NGD (exact)", "offset θ₀", "slope θ₁", "summed loss"] {
                assert!(svg.contains(text), "{text}");
            }
            for part in ["field", "paths", "lengths"] {
                let name = format!("toy_{}_{part}.csv", problem.name());
                let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
                for rule in Rule::ALL {
                    assert!(text.contains(rule.look().name));
                }
            }
        }
    }
}
