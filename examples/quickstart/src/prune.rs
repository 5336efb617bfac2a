//! A trained perceptron, pruned in several ways.

use burn_ief::Tape;
use burn_ief::prune::{
    BlockOrder, Compensation, PruneCurvature, PruneScope, Pruned, Selection, SparsityMask,
    WoodFisherConfig, prune_by_magnitude,
};
use burn_ief::solve::DampingAmount;
use programs::statistics::with_spread;
use programs::table::{self, Style, Table};

use crate::data::Batch;
use crate::error::Error;
use crate::experiment::Experiment;
use crate::mlp::{Mlp, Training};

/// The shares of the weights to prune.
pub const SPARSITIES: [f64; 4] = [0.5, 0.8, 0.9, 0.95];
/// Relative dampings of a search.
pub const DAMPINGS: [f64; 8] = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2];
/// Per-sample gradients of a recorded batch.
const BATCH: usize = 128;

/// A way to prune.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Method {
    /// Smallest weights of the whole model.
    Magnitude,
    /// Smallest weights of each layer.
    MagnitudeEach,
    /// WoodFisher with the empirical Fisher matrix.
    Ef,
    /// WoodFisher with the improved empirical Fisher matrix.
    Ief,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Magnitude, Self::MagnitudeEach, Self::Ef, Self::Ief];

    /// Its name in the table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Magnitude => "magnitude",
            Self::MagnitudeEach => "magnitude, per layer",
            Self::Ef => "WoodFisher, EF",
            Self::Ief => "WoodFisher, iEF",
        }
    }

    /// Its Fisher matrix, if it has one.
    pub fn curvature(self) -> Option<PruneCurvature> {
        match self {
            Self::Magnitude | Self::MagnitudeEach => None,
            Self::Ef => Some(PruneCurvature::Empirical),
            Self::Ief => Some(PruneCurvature::Improved),
        }
    }
}

/// Options of the methods with a Fisher matrix.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Per-sample gradients in the Fisher matrix; beyond the 1,198 images they come round again.
    #[arg(long, default_value_t = 1024)]
    pub gradients: usize,
    /// Weights in a block.
    #[arg(long, default_value_t = 128)]
    pub block_size: usize,
    /// Damping, relative to the mean diagonal [default: the best of a search].
    #[arg(long)]
    pub damping: Option<f64>,
    /// Blocks along the rows of the weights (as Burn keeps them) instead of the columns.
    #[arg(long)]
    pub row_major: bool,
    /// Prune as published: independent saliencies, and corrections that are added up.
    #[arg(long)]
    pub as_published: bool,
}

impl Options {
    /// Check every option.
    ///
    /// # Errors
    ///
    /// [`Error::Method`] naming the first that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        Ok(self.config(PruneCurvature::Improved).validate()?)
    }

    fn config(&self, curvature: PruneCurvature) -> WoodFisherConfig {
        // The best of `--tune` and of `--tune --as-published`, for EF and iEF alike.
        let damping = self
            .damping
            .unwrap_or(if self.as_published { 1e2 } else { 1e-2 });
        let config = WoodFisherConfig::new(self.gradients)
            .with_curvature(curvature)
            .with_block_size(self.block_size)
            .with_order(if self.row_major {
                BlockOrder::RowMajor
            } else {
                BlockOrder::ColumnMajor
            })
            .with_damping(DampingAmount::Relative(damping));
        if self.as_published {
            config
                .with_selection(Selection::Independent)
                .with_compensation(Compensation::Summed)
        } else {
            config
        }
    }
}

/// One pruned model.
#[derive(Debug, Clone)]
pub struct Row {
    /// How it was pruned; nothing for the dense model.
    pub method: Option<Method>,
    /// Seed of the parameters and of the order of the images.
    pub seed: u64,
    /// Share of the weights that are pruned.
    pub sparsity: f64,
    /// Share of the training images that are recognised.
    pub train_accuracy: f64,
    /// Share of the test images that are recognised.
    pub test_accuracy: f64,
}

impl Experiment {
    /// The dense model of a seed.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`].
    pub fn dense(&self, seed: u64) -> Result<Mlp, Error> {
        self.device.seed(seed);
        let plan = Training {
            epochs: self.epochs,
            seed,
            step_size: 2e-3,
        };
        Mlp::new(&self.device).train(&self.split.train, &plan, &self.device, Ok)
    }

    /// Prune a model once.
    ///
    /// # Errors
    ///
    /// [`Error::Method`].
    pub fn prune(
        &self,
        mlp: &Mlp,
        method: Method,
        options: &Options,
        sparsity: f64,
    ) -> Result<Pruned<Mlp>, Error> {
        let mask = SparsityMask::weights(mlp)?;
        let pruned = match method.curvature() {
            None => {
                let scope = match method {
                    Method::MagnitudeEach => PruneScope::PerParameter,
                    _ => PruneScope::Global,
                };
                prune_by_magnitude(mlp.clone(), &mask, sparsity, scope)?
            }
            Some(curvature) => {
                let config = options.config(curvature);
                let mut fisher = config.try_init(mlp, &mask)?;
                let mut digits = self.split.train.chunks(BATCH).cycle();
                while fisher.missing() > 0
                    && let Some(digits) = digits.next()
                {
                    let batch = Batch::new(digits, &self.device);
                    let tape = Tape::start();
                    let grads = mlp.loss(&batch).backward();
                    fisher.record(tape, grads, mlp)?;
                }
                fisher.prune(mlp.clone(), sparsity)?
            }
        };
        Ok(pruned)
    }

    /// Train a pruned model on, its pruned weights zero.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] and [`Error::Method`].
    pub fn train_on(&self, pruned: Pruned<Mlp>, seed: u64, epochs: usize) -> Result<Mlp, Error> {
        let plan = Training {
            epochs,
            seed: seed ^ 1 << 32,
            step_size: 1e-3,
        };
        let Pruned { model, mask, .. } = pruned;
        let then = |mlp| Ok(mask.apply(mlp)?);
        model.train(&self.split.train, &plan, &self.device, then)
    }

    /// What a model recognises.
    pub fn row(&self, mlp: &Mlp, method: Option<Method>, seed: u64, sparsity: f64) -> Row {
        Row {
            method,
            seed,
            sparsity,
            train_accuracy: mlp.accuracy(&self.split.train, &self.device),
            test_accuracy: mlp.accuracy(&self.split.test, &self.device),
        }
    }
}

/// Test accuracy in per cent for each method and sparsity, mean ± sample standard deviation over
/// the seeds.
pub fn table(rows: &[Row], sparsities: &[f64]) -> Table {
    let cell = |method: Option<Method>, sparsity: f64| {
        let chosen = rows
            .iter()
            .filter(|row| row.method == method && row.sparsity == sparsity);
        let values: Vec<f64> = chosen.map(|row| 100.0 * row.test_accuracy).collect();
        with_spread(&values, 1)
    };
    let mut header = vec!["pruned".to_string()];
    header.extend(
        sparsities
            .iter()
            .map(|share| format!("{:.0} %", 100.0 * share)),
    );
    let mut lines = Vec::new();
    for method in Method::ALL {
        if rows.iter().any(|row| row.method == Some(method)) {
            let mut line = vec![method.title().to_string()];
            line.extend(sparsities.iter().map(|&share| cell(Some(method), share)));
            lines.push(line);
        }
    }
    table::table(Style::Lines, header, &[0], lines)
}
