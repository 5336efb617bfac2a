//! The trait of an update rule, and the system of a batch that a rule solves.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt::Debug;

use crate::error::Error;
use crate::jacobian::Jacobian;
use crate::linalg::Symmetric;
use crate::record::LabelDraw;
use crate::solve::Damping;
pub use crate::solve::coefficients::Solution;

/// An update rule: from the Gram matrix of a batch to the update.
///
/// EF, iEF, SF and the exact natural gradient are rules, and you can write your own.
/// [`Exact`](super::Exact) makes a training method of a rule: it records, stacks shards, keeps the
/// momentum in the solve and forms the update.
///
/// The units are those of the summed loss: row n of J is the gradient of the loss of sample n, not
/// divided by anything, and the update Δ is the *positive* preconditioned gradient (a step is
/// `θ ← θ − η Δ`).
///
/// ```
/// use burn_ief::Error;
/// use burn_ief::methods::{Solution, System, UpdateRule};
/// use burn_ief::solve::{Coefficients, SolveReport, SolveRoute, Symmetric};
///
/// /// The gradient of each sample, scaled to length 1: `Δ = Σ_n J_n / ‖J_n‖`.
/// #[derive(Debug, Clone)]
/// struct UnitGradients;
///
/// impl UpdateRule for UnitGradients {
///     fn solve(&self, system: &System<'_>) -> Result<Solution, Error> {
///         let gram = system.gram()?;
///         let lengths = gram.diagonal().into_iter().map(f64::sqrt);
///         let c: Vec<f64> = lengths.map(|l| if l > 0.0 { 1.0 / l } else { 0.0 }).collect();
///         let decrease = gram.mul(&c);
///         let curvature = decrease.iter().map(|d| d * d).sum();
///         let report = SolveReport::new(0.0, 0.0, SolveRoute::Cholesky, 1.0, c.len(), 0.0);
///         Ok(Coefficients::new(c, decrease, curvature, report).into())
///     }
/// }
///
/// let gram = Symmetric::from_fn(2, |i, j| if i == j { 4.0 } else { 0.0 });
/// let update = UnitGradients.solve(&System::from_gram(gram, 2))?.into_coefficients()?;
/// assert_eq!(update.values, [0.5, 0.5]);
/// # Ok::<(), burn_ief::Error>(())
/// ```
pub trait UpdateRule: Debug + Send + Sync + 'static {
    /// The labels that copies of the batch carry in this step; `None` for rules that use the true
    /// labels alone.
    fn labels(&self, _step: u64) -> Option<LabelDraw> {
        None
    }

    /// Whether the rule uses [`System::output_norms`]; the model then has to mark its output.
    fn needs_output_norms(&self) -> bool {
        false
    }

    /// Whether the rule leaves out samples that are fitted to the precision of the outputs
    /// ([`System::contributes`]). Rules that divide by the length of a row need this: the row of such
    /// a sample is rounding.
    fn skips_fitted(&self) -> bool {
        false
    }

    /// Whether the rule uses [`System::start`], which momentum in the solve needs.
    fn supports_start(&self) -> bool {
        true
    }

    /// Solve the system of a batch.
    ///
    /// # Errors
    ///
    /// Whatever the rule cannot solve, and the errors of the system's accessors.
    fn solve(&self, system: &System<'_>) -> Result<Solution, Error>;
}

/// The system of a batch on the host: inner products of the rows, output gradient norms, damping.
///
/// The rows are the M samples, followed by their copies with drawn labels if the rule has any (copy
/// after copy, M rows each). What a rule does not ask for is not computed.
///
/// ```
/// use burn_ief::methods::{Ef, System, UpdateRule};
/// use burn_ief::solve::{Damping, Symmetric};
///
/// let gram = Symmetric::from_fn(2, |i, j| if i == j { 4.0 } else { 0.0 });
/// let system = System::from_gram(gram, 2).with_damping(Damping::absolute(0.0));
/// let update = Ef::default().solve(&system)?.into_coefficients()?;
/// assert_eq!(update.values, [0.25, 0.25]);
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug)]
pub struct System<'a> {
    rows: Rows<'a>,
    size: usize,
    samples: usize,
    output_norms: Option<Vec<f64>>,
    label_matches: Option<Vec<bool>>,
    fitted: Option<Vec<bool>>,
    start: Option<Vec<f64>>,
    damping: Damping,
    epsilon: f64,
    row_epsilon: f64,
    gram: OnceCell<Symmetric>,
    dense: OnceCell<Vec<Vec<f64>>>,
}

/// Where the rows are.
#[derive(Debug)]
enum Rows<'a> {
    /// Only their inner products are known.
    Gram,
    Dense(Vec<Vec<f64>>),
    /// In this order of the Jacobian's rows, or its own.
    Recorded(&'a Jacobian, Option<&'a [usize]>),
}

impl<'a> System<'a> {
    /// A system of which the Gram matrix of all rows is known, the first `samples` of them with
    /// true labels.
    pub fn from_gram(gram: Symmetric, samples: usize) -> Self {
        let size = gram.size();
        let system = Self::new(Rows::Gram, size, samples);
        Self {
            gram: OnceCell::from(gram),
            ..system
        }
    }

    /// A system of dense rows, the first `samples` of them with true labels.
    ///
    /// # Panics
    ///
    /// Panics if the rows differ in length.
    pub fn from_rows(rows: Vec<Vec<f64>>, samples: usize) -> Self {
        let size = rows.len();
        let width = rows.first().map_or(0, Vec::len);
        assert!(
            rows.iter().all(|row| row.len() == width),
            "rows of one length"
        );
        Self::new(Rows::Dense(rows), size, samples)
    }

    /// The system of a recorded batch whose rows are taken in the given order.
    pub(crate) fn recorded(
        jacobian: &'a Jacobian,
        order: Option<&'a [usize]>,
        samples: usize,
    ) -> Self {
        let rows = Rows::Recorded(jacobian, order);
        Self {
            epsilon: jacobian.gram_epsilon(),
            row_epsilon: jacobian.row_epsilon(),
            ..Self::new(rows, jacobian.samples(), samples)
        }
    }

    fn new(rows: Rows<'a>, size: usize, samples: usize) -> Self {
        Self {
            rows,
            size,
            samples,
            output_norms: None,
            label_matches: None,
            fitted: None,
            start: None,
            damping: Damping::default(),
            epsilon: f64::EPSILON,
            row_epsilon: f64::EPSILON,
            gram: OnceCell::new(),
            dense: OnceCell::new(),
        }
    }

    /// With the Gram matrix of all rows, in the order of the Jacobian.
    pub(crate) fn with_recorded_gram(self, gram: Symmetric) -> Self {
        let gram = match self.order() {
            Some(order) => gram.principal(order).into_owned(),
            None => gram,
        };
        Self {
            gram: OnceCell::from(gram),
            ..self
        }
    }

    /// [`with_start`](Self::with_start) for products in the order of the Jacobian.
    pub(crate) fn with_recorded_start(self, start: Vec<f64>) -> Self {
        let start = match self.order() {
            Some(order) => order.iter().map(|&row| start[row]).collect(),
            None => start,
        };
        self.with_start(start)
    }

    /// Where the rows of the system are in the Jacobian; `None` if they are in its order.
    fn order(&self) -> Option<&'a [usize]> {
        match self.rows {
            Rows::Recorded(_, order) => order,
            _ => None,
        }
    }

    /// With s, one entry per sample.
    pub fn with_output_norms(self, norms: Vec<f64>) -> Self {
        Self {
            output_norms: Some(norms),
            ..self
        }
    }

    /// With, for every copy, whether its drawn label is the true one.
    pub fn with_label_matches(self, matches: Vec<bool>) -> Self {
        Self {
            label_matches: Some(matches),
            ..self
        }
    }

    /// With, for every sample, whether it is fitted to the precision of the outputs.
    pub fn with_fitted(self, fitted: Vec<bool>) -> Self {
        Self {
            fitted: Some(fitted),
            ..self
        }
    }

    /// With the products of all rows with the start Δ₀ of the update.
    pub fn with_start(self, start: Vec<f64>) -> Self {
        Self {
            start: Some(start),
            ..self
        }
    }

    /// With this damping.
    pub fn with_damping(self, damping: Damping) -> Self {
        Self { damping, ..self }
    }

    /// With the machine epsilon of the precision in which the Gram matrix was accumulated
    /// ([`Jacobian::gram_epsilon`]); that of f64 otherwise.
    pub fn with_epsilon(self, epsilon: f64) -> Self {
        Self { epsilon, ..self }
    }

    /// With the machine epsilon of the rows themselves ([`Jacobian::row_epsilon`]), from which the
    /// update is formed; that of f64 otherwise.
    pub fn with_row_epsilon(self, row_epsilon: f64) -> Self {
        Self {
            row_epsilon,
            ..self
        }
    }

    /// Number of rows, copies with drawn labels included.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Samples M.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Copies of each sample with drawn labels.
    ///
    /// # Errors
    ///
    /// [`Error::NoSampledLabels`] if there are none; [`Error::Size`] if the rows of the copies are
    /// not a multiple of the samples.
    pub fn copies(&self) -> Result<usize, Error> {
        let drawn = self.size.saturating_sub(self.samples);
        if drawn == 0 {
            return Err(Error::NoSampledLabels);
        }
        if self.samples == 0 || !drawn.is_multiple_of(self.samples) {
            return Err(Error::Size {
                what: "rows with drawn labels (a multiple of the samples)",
                expected: self.samples,
                found: drawn,
            });
        }
        Ok(drawn / self.samples)
    }

    /// Entries of the parameters; `None` if only the Gram matrix is known.
    pub fn columns(&self) -> Option<usize> {
        match &self.rows {
            Rows::Gram => None,
            Rows::Dense(rows) => rows.first().map(Vec::len),
            Rows::Recorded(jacobian, _) => Some(jacobian.columns()),
        }
    }

    /// Inner products of all rows: K for rules without drawn labels.
    ///
    /// # Errors
    ///
    /// [`Error::NonFinite`] naming the samples whose gradients are NaN or infinite.
    pub fn gram(&self) -> Result<&Symmetric, Error> {
        if let Some(gram) = self.gram.get() {
            return Ok(gram);
        }
        let gram = match &self.rows {
            Rows::Gram => unreachable!("`from_gram` sets it"),
            Rows::Dense(rows) => {
                Symmetric::from_fn(rows.len(), |i, j| crate::linalg::dot(&rows[i], &rows[j]))
            }
            Rows::Recorded(jacobian, order) => match order {
                Some(order) => jacobian.gram()?.principal(order).into_owned(),
                None => jacobian.gram()?,
            },
        };
        Ok(self.gram.get_or_init(|| gram))
    }

    /// Inner products of the samples' rows, without copies: K.
    ///
    /// # Errors
    ///
    /// As [`gram`](Self::gram); [`Error::Size`] if there are fewer rows than samples.
    pub fn sample_gram(&self) -> Result<Cow<'_, Symmetric>, Error> {
        if self.size < self.samples {
            return Err(Error::Size {
                what: "rows of the system",
                expected: self.samples,
                found: self.size,
            });
        }
        let rows: Vec<usize> = (0..self.samples).collect();
        Ok(self.gram()?.principal(&rows))
    }

    /// All rows, dense; `None` if only the Gram matrix is known.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] and [`Error::Deadline`] if a device of the rows does not answer.
    pub fn dense_rows(&self) -> Result<Option<&[Vec<f64>]>, Error> {
        let (jacobian, order) = match &self.rows {
            Rows::Gram => return Ok(None),
            Rows::Dense(rows) => return Ok(Some(rows)),
            Rows::Recorded(jacobian, order) => (jacobian, order),
        };
        if let Some(rows) = self.dense.get() {
            return Ok(Some(rows));
        }
        let mut rows = jacobian.dense(jacobian.params())?;
        if let Some(order) = order {
            let in_order = order.iter().map(|&n| std::mem::take(&mut rows[n]));
            rows = in_order.collect();
        }
        Ok(Some(self.dense.get_or_init(|| rows)))
    }

    /// s_n = ‖∂l_n/∂z_n‖², one entry per sample.
    ///
    /// # Errors
    ///
    /// [`Error::NoOutput`] if they are not known; [`Error::Size`] if there is not one per sample.
    pub fn output_norms(&self) -> Result<&[f64], Error> {
        let norms = self.output_norms.as_deref().ok_or(Error::NoOutput)?;
        check("output gradient norms", self.samples, norms)
    }

    /// For every copy, whether its drawn label is the true one, copy after copy.
    ///
    /// # Errors
    ///
    /// [`Error::NoSampledLabels`] if they are not known; [`Error::Size`] if there is not one per
    /// copy.
    pub fn label_matches(&self) -> Result<&[bool], Error> {
        let matches = self.label_matches.as_deref();
        let matches = matches.ok_or(Error::NoSampledLabels)?;
        check(
            "label matches",
            self.size.saturating_sub(self.samples),
            matches,
        )
    }

    /// Whether a sample takes part: it is not fitted to the precision of the outputs, and 1 over its
    /// squared gradient fits into the type of the rows.
    ///
    /// # Errors
    ///
    /// As [`gram`](Self::gram); [`Error::Size`] if there is not one flag per sample.
    pub fn contributes(&self) -> Result<Vec<bool>, Error> {
        let smallest = if self.row_epsilon > f64::EPSILON {
            f64::from(f32::MIN_POSITIVE)
        } else {
            f64::MIN_POSITIVE
        };
        let gram = self.gram()?;
        let fitted = match &self.fitted {
            Some(fitted) => check("flags of fitted samples", self.samples, fitted)?,
            None => &[],
        };
        let fitted = |n: usize| fitted.get(n).copied().unwrap_or(false);
        let samples = 0..self.samples.min(self.size);
        Ok(samples
            .map(|n| gram.get(n, n) >= smallest && !fitted(n))
            .collect())
    }

    /// The products of all rows with the start Δ₀ of the update: zeros without momentum in the
    /// solve.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] if there is not one per row.
    pub fn start(&self) -> Result<Vec<f64>, Error> {
        match &self.start {
            Some(start) => {
                check("products of the rows with the start", self.size, start).map(<[f64]>::to_vec)
            }
            None => Ok(vec![0.0; self.size]),
        }
    }

    /// The damping.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if it is negative, NaN or infinite.
    pub fn damping(&self) -> Result<&Damping, Error> {
        self.damping.validate()?;
        Ok(&self.damping)
    }

    /// Machine epsilon of the precision in which the Gram matrix was accumulated.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// Machine epsilon of the rows.
    pub fn row_epsilon(&self) -> f64 {
        self.row_epsilon
    }

    /// The Gram matrix of all rows, if the rule has asked for it.
    pub(crate) fn known_gram(&self) -> Option<&Symmetric> {
        self.gram.get()
    }
}

fn check<'s, T>(what: &'static str, expected: usize, values: &'s [T]) -> Result<&'s [T], Error> {
    if values.len() == expected {
        Ok(values)
    } else {
        Err(Error::Size {
            what,
            expected,
            found: values.len(),
        })
    }
}
