//! The numbers behind a picture, as CSV.

use std::path::{Path, PathBuf};

use burn_ief::eval::{Survey, SurveyRow};
use burn_ief::solve::DampingAmount;
use programs::{WriteError, files};
use serde::Serialize;

use crate::error::Error;

/// Write rows under a header of their field names as `name` in `folder`, which is made.
///
/// ```
/// #[derive(serde::Serialize)]
/// struct Row {
///     x: f64,
///     y: f64,
/// }
/// let folder = std::env::temp_dir().join("figures-table");
/// let path = figures::table::write(&folder, "line.csv", &[Row { x: 1.0, y: 0.5 }])?;
/// assert_eq!(std::fs::read_to_string(path).unwrap(), "x,y\n1.0,0.5\n");
/// # std::fs::remove_dir_all(folder).unwrap();
/// # Ok::<(), figures::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Write`].
pub fn write<R: Serialize>(folder: &Path, name: &str, rows: &[R]) -> Result<PathBuf, Error> {
    files::make_folder(folder)?;
    let path = folder.join(name);
    let failed = |error: csv::Error| WriteError::new(&path, error);
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row).map_err(failed)?;
    }
    let content = writer.into_inner();
    let content = content.map_err(|error| failed(error.into_error().into()))?;
    files::write(&path, content)?;
    Ok(path)
}

/// A line of a survey: one direction at one stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SurveyLine {
    /// Epochs trained.
    stage: String,
    direction: String,
    /// λ over the mean diagonal of the damped matrix; empty for SGD.
    relative_damping: Option<f64>,
    batches: usize,
    /// γ over that of SGD.
    ratio_mean: f64,
    ratio_standard_deviation: f64,
    ratio_standard_error: f64,
    gamma_mean: f64,
    gamma_standard_error: f64,
    /// 1/(2γ²), of the summed loss.
    predicted_reduction_mean: f64,
}

impl From<&SurveyRow> for SurveyLine {
    fn from(row: &SurveyRow) -> Self {
        Self {
            stage: row.stage.clone(),
            direction: row.direction.clone(),
            relative_damping: row.damping.map(DampingAmount::value),
            batches: row.ratio.count(),
            ratio_mean: row.ratio.mean(),
            ratio_standard_deviation: row.ratio.standard_deviation(),
            ratio_standard_error: row.ratio.standard_error(),
            gamma_mean: row.gamma.mean(),
            gamma_standard_error: row.gamma.standard_error(),
            predicted_reduction_mean: row.reduction.mean(),
        }
    }
}

impl SurveyLine {
    /// With the damping that the survey does not know.
    pub fn with_damping(self, relative: f64) -> Self {
        Self {
            relative_damping: Some(relative),
            ..self
        }
    }
}

/// The lines of a survey.
pub fn lines(survey: &Survey) -> Vec<SurveyLine> {
    survey.rows().iter().map(SurveyLine::from).collect()
}
