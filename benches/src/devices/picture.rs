//! A picture: each task in multiples of the first one, device by device.

use std::error::Error;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::Color as _;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use programs::plot::{Color, GRID, TEXT};

use super::row::{Row, origins};
use super::workload::Workload;

/// Height of a bar, and the space between groups of bars.
const BAR: i32 = 14;
const GAP: i32 = 8;
/// Height of the title of a workload.
const TITLE: i32 = 34;
/// Where bars begin, and the length of a multiple of one.
const LEFT: i32 = 170;
const UNIT: i32 = 150;
/// Bars longer than this many multiples are cut off.
const LONGEST: f64 = 3.0;
/// Width of the picture.
const WIDTH: i32 = LEFT + 3 * UNIT + 130;
/// Height of a line of the legend.
const LINE: i32 = 20;

const COLORS: [Color; 4] = [Color::Blue, Color::Orange, Color::Green, Color::Purple];

/// A bar for every row that has a ratio.
///
/// # Errors
///
/// Those of the backend.
pub fn svg(rows: &[Row]) -> Result<String, Box<dyn Error>> {
    let places = origins(rows);
    let groups = groups(rows);
    let height: i32 = groups.iter().map(Group::height).sum();
    let legend = LINE * places.len() as i32 + GAP;
    let height = height + legend + GAP;
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, (WIDTH as u32, height as u32));
        let root = root.into_drawing_area();
        root.fill(&WHITE)?;
        for (index, (device, origin)) in places.iter().enumerate() {
            let y = GAP + LINE * index as i32;
            bar(&root, (GAP, y + 3), 12, color(index))?;
            let label = format!("{device}: {}, {}", origin.hardware, origin.machine);
            write(&root, (GAP + 20, y + LINE / 2), 12.0, HPos::Left, &label)?;
        }
        let mut y = legend;
        for group in &groups {
            group.draw(&root, y, &places)?;
            y += group.height();
        }
        root.present()?;
    }
    Ok(text)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;
type Places<'a> = [(&'a str, &'a super::Origin)];

fn color(index: usize) -> RGBColor {
    COLORS[index % COLORS.len()].rgb()
}

fn bar(area: &Area<'_>, (x, y): (i32, i32), length: i32, color: RGBColor) -> Drawn {
    let corners = [(x, y), (x + length, y + BAR - 2)];
    area.draw(&Rectangle::new(corners, color.filled()))?;
    Ok(())
}

fn write(area: &Area<'_>, at: (i32, i32), size: f64, side: HPos, text: &str) -> Drawn {
    let style = TextStyle::from(("sans-serif", size).into_font()).color(&TEXT);
    let style = style.pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_string(), at, style))?;
    Ok(())
}

/// The tasks of a workload, each with its rows.
struct Group<'a> {
    workload: Workload,
    tasks: Vec<(&'a str, Vec<&'a Row>)>,
}

fn groups(rows: &[Row]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for row in rows.iter().filter(|row| row.ratio.is_some()) {
        let at = groups
            .iter()
            .position(|group| group.workload == row.workload);
        let at = at.unwrap_or_else(|| {
            groups.push(Group {
                workload: row.workload,
                tasks: Vec::new(),
            });
            groups.len() - 1
        });
        let tasks = &mut groups[at].tasks;
        match tasks.iter_mut().find(|(task, _)| *task == row.task) {
            Some((_, rows)) => rows.push(row),
            None => tasks.push((&row.task, vec![row])),
        }
    }
    groups
}

impl Group<'_> {
    fn height(&self) -> i32 {
        let bars = self
            .tasks
            .iter()
            .map(|(_, rows)| rows.len() as i32 * BAR + GAP);
        TITLE + bars.sum::<i32>() + GAP
    }

    fn draw(&self, area: &Area<'_>, top: i32, places: &Places<'_>) -> Drawn {
        let first = self.workload.tasks()[0];
        let title = format!(
            "{}: multiples of {first} on the same device",
            self.workload.name()
        );
        write(area, (GAP, top + TITLE / 2), 15.0, HPos::Left, &title)?;
        let bottom = top + self.height() - GAP;
        for multiple in 0..=LONGEST as i32 {
            let x = LEFT + multiple * UNIT;
            let ends = vec![(x, top + TITLE - 4), (x, bottom)];
            area.draw(&PathElement::new(ends, GRID.stroke_width(1)))?;
        }
        let mut y = top + TITLE;
        for (task, rows) in &self.tasks {
            let middle = y + rows.len() as i32 * BAR / 2;
            write(area, (LEFT - GAP, middle), 12.0, HPos::Right, task)?;
            for row in rows {
                let place = places
                    .iter()
                    .position(|(device, origin)| *device == row.device && **origin == row.origin);
                let ratio = row.ratio.unwrap_or_default();
                let length = (ratio.min(LONGEST) * f64::from(UNIT)).round() as i32;
                bar(
                    area,
                    (LEFT, y + 1),
                    length,
                    color(place.unwrap_or_default()),
                )?;
                let label = format!("{ratio:.2} ({:.0} ms)", row.median_ms.unwrap_or_default());
                write(
                    area,
                    (LEFT + length + 4, y + BAR / 2),
                    11.0,
                    HPos::Left,
                    &label,
                )?;
                y += BAR;
            }
            y += GAP;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::{relate, tests::row};
    use super::*;

    #[test]
    fn every_row_with_a_time_has_a_bar() {
        let mut rows = Vec::new();
        for device in ["flex", "wgpu"] {
            let mut own = [
                row(Workload::Mlp, "sgd", device, 20.0),
                row(Workload::Mlp, "ief", device, 22.0),
                row(Workload::Mlp, "sf", device, 200.0),
            ];
            relate(&mut own);
            rows.extend(own);
        }
        rows[5].ratio = None;
        let text = svg(&rows).unwrap();
        // Two in the legend, and one for each of five rows; the background.
        assert_eq!(text.matches("<rect").count(), 2 + 5 + 1);
        for label in ["1.10 (22 ms)", "10.00 (200 ms)", "wgpu card, here"] {
            assert!(text.contains(label), "{label}");
        }
    }
}
