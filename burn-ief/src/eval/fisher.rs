//! The exact Fisher matrix of a batch as a quadratic form and as an operator.

use std::cell::OnceCell;

use burn::module::{Module, ParamGroup};
use burn::optim::GradientsParams;
use burn::tensor::{Bool, Tensor};

use super::differences::{finite, rates, same_outputs};
use super::direction::{Checked, Trainable, epsilon, evaluating};
use super::exact::OutputRows;
use super::loss::{Loss, flattened, widened};
use super::monte_carlo::DrawnRows;
use super::quality::{Cost, Curvature, Quality};
use crate::error::Error;
use crate::jacobian::to_host;
use crate::record::recorder;

/// Most outputs of a sample for which [`Method::Auto`] makes a pass for each.
const FEW_OUTPUTS: usize = 10;
/// Coarser than this, parameters round off the small steps of differences.
const COARSE: f64 = 1e-4;

/// How the rates of the outputs along a direction are found.
///
/// ```
/// use burn_ief::eval::{Fisher, Loss, Method};
///
/// let fisher = Fisher::new(Loss::CrossEntropy).with_method(Method::Differences);
/// assert_eq!(Method::default(), Method::Auto);
/// # let _ = fisher;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Method {
    /// Exact for at most ten outputs per sample and differences for more; in half precision,
    /// whose rounding swallows small steps, Monte Carlo with 16 draws instead of these. Models
    /// that do not record fall back to differences.
    #[default]
    Auto,
    /// One recorded forward and backward pass for each output of a sample (positions times
    /// classes). They serve all directions that are judged on the batch, and are kept.
    Exact,
    /// Differences of the outputs at three steps along Δ, for any model. The error is estimated from
    /// what the third step changed.
    Differences,
    /// `(Δᵀ∇log p(ŷ))²` for labels drawn from the model: unbiased, needs recorded calls. The
    /// passes serve all directions that are judged on the batch, and are kept; so the errors of
    /// two γ on the same batch are correlated, and their ratio is better than either.
    MonteCarlo {
        /// Labels drawn for each sample (and position), one pass each.
        draws: usize,
        /// Seed of the draws.
        seed: u64,
    },
}

/// Which Fisher matrix, and how to get at it.
///
/// ```
/// use burn::module::ParamGroup;
/// use burn_ief::eval::{Fisher, Loss, Method};
///
/// let fisher = Fisher::new(Loss::CrossEntropy)
///     .with_method(Method::MonteCarlo { draws: 4, seed: 1 })
///     .with_group(ParamGroup::from_predicate("lora"));
/// # let _ = fisher;
/// ```
#[derive(Debug, Clone, Default)]
pub struct Fisher {
    loss: Loss,
    method: Method,
    padding: Option<Tensor<2, Bool>>,
    group: Option<ParamGroup>,
}

impl Fisher {
    /// Of a model trained with this loss.
    pub fn new(loss: Loss) -> Self {
        Self {
            loss,
            ..Self::default()
        }
    }

    /// Choose how.
    pub fn with_method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    /// Leave out padding: positions without a label.
    ///
    /// # Shapes
    ///
    /// - padding: `[M, T]`, true where the loss does not count, as Burn's padding masks
    pub fn with_padding(self, padding: Tensor<2, Bool>) -> Self {
        Self {
            padding: Some(padding),
            ..self
        }
    }

    /// Only these parameters: a direction's entries for others count as zero.
    pub fn with_group(self, group: ParamGroup) -> Self {
        Self {
            group: Some(group),
            ..self
        }
    }

    /// The Fisher matrix of one batch at the model's parameters.
    ///
    /// `forward` computes the outputs `[M, …, C]` of the batch (logits, not probabilities), the
    /// same whenever it is called. It is called here once. For [`Method::Exact`] and
    /// [`Method::MonteCarlo`] it must go through recorded calls.
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn::tensor::{Device, Tensor};
    /// use burn_ief::eval::{Fisher, Loss, gradient};
    ///
    /// let device = Device::flex().autodiff();
    /// let model = LinearConfig::new(2, 1).with_bias(false).init(&device);
    /// let x = Tensor::<2>::from_floats([[3.0, 0.0], [0.0, 4.0]], &device);
    /// let at = Fisher::new(Loss::LeastSquares).at(&model, |m| m.forward(x.clone()))?;
    ///
    /// // F = XᵀX; along (3, 4) that is 9·9 + 16·16.
    /// let v = gradient(model.forward(x.clone()).sum().backward(), &model, 1.0);
    /// let curvature = at.curvature(&v)?;
    /// assert!((curvature.value - 337.0).abs() < 0.1);
    /// # Ok::<(), burn_ief::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NothingRecorded`] if no parameter (of the group) is trainable;
    /// [`Error::NonFinite`] naming samples with NaN or infinity in their outputs; [`Error::Size`]
    /// if the padding does not fit the outputs or there are none; [`Error::Config`] for no draws;
    /// [`Error::NestedRecording`] inside a recording.
    pub fn at<'a, M: Module, const D: usize>(
        &self,
        module: &'a M,
        forward: impl Fn(&M) -> Tensor<D> + 'a,
    ) -> Result<FisherAt<'a, M>, Error> {
        if matches!(self.method, Method::MonteCarlo { draws: 0, .. }) {
            return Err(Error::Config {
                field: "draws",
                value: "0".into(),
                expected: "at least 1",
            });
        }
        refuse_recording()?;
        let trainable = Trainable::of(module, self.group.as_ref())?;
        let plain = module.valid();
        let z = flattened(forward(&plain));
        let coarse = trainable.epsilon.max(epsilon(z.dtype())) > COARSE;
        let z = widened(z);
        if z.dims().contains(&0) {
            return Err(Error::Size {
                what: "outputs of the batch",
                expected: 1,
                found: 0,
            });
        }
        let padding = self.fit_padding(&z)?;
        let forward: Box<dyn Fn(&M) -> Tensor<3> + 'a> = match padding.clone() {
            Some(padding) => Box::new(move |module| {
                let z = flattened(forward(module));
                z.mask_fill(padding.clone(), 0.0)
            }),
            None => Box::new(move |module| flattened(forward(module))),
        };
        let z = match padding.clone() {
            Some(padding) => z.mask_fill(padding, 0.0),
            None => z,
        };
        finite("outputs", &z)?;
        Ok(FisherAt {
            fisher: self.clone(),
            still: evaluating(module),
            module,
            plain,
            forward,
            padding,
            z,
            coarse,
            trainable,
            chosen: OnceCell::new(),
            outputs: OnceCell::new(),
            drawn: OnceCell::new(),
        })
    }

    /// The padding for every output, `[M, T, C]`.
    fn fit_padding(&self, z: &Tensor<3>) -> Result<Option<Tensor<3, Bool>>, Error> {
        let Some(padding) = &self.padding else {
            return Ok(None);
        };
        let [samples, positions, _] = z.dims();
        let found = padding.dims();
        let sizes = [samples, positions].into_iter().zip(found);
        let names = ["samples of the padding", "positions of the padding"];
        for (what, (expected, found)) in names.into_iter().zip(sizes) {
            if expected != found {
                return Err(Error::Size {
                    what,
                    expected,
                    found,
                });
            }
        }
        let padding = padding.clone().inner().to_device(&z.device());
        let padding = padding.reshape([samples, positions, 1]);
        Ok(Some(padding.expand(z.dims())))
    }
}

/// The Fisher matrix of one batch, at the parameters of one model.
///
/// It holds the outputs, and what passes a method shares between directions: judge all directions
/// of a batch with one of these. See [`Fisher::at`].
pub struct FisherAt<'a, M> {
    fisher: Fisher,
    module: &'a M,
    /// With gradients, dropout off.
    still: M,
    /// Without gradients.
    plain: M,
    forward: Box<dyn Fn(&M) -> Tensor<3> + 'a>,
    padding: Option<Tensor<3, Bool>>,
    z: Tensor<3>,
    coarse: bool,
    trainable: Trainable,
    chosen: OnceCell<Method>,
    outputs: OnceCell<OutputRows>,
    drawn: OnceCell<DrawnRows>,
}

impl<M: Module> FisherAt<'_, M> {
    /// γ of a direction and what belongs to it.
    ///
    /// `gradient` is that of the **summed** loss, see [`gradient`](super::gradient). The direction
    /// may have any scale and sign: updates of this crate and of Burn's optimizers are positive,
    /// `θ ← θ − η Δ`.
    ///
    /// # Errors
    ///
    /// As [`curvature`](Self::curvature), for either; [`Error::ZeroSlope`] if Δᵀg is zero.
    pub fn quality(
        &self,
        direction: &GradientsParams,
        gradient: &GradientsParams,
    ) -> Result<Quality, Error> {
        let direction = self.trainable.check("direction", direction)?;
        let gradient = self.trainable.check("gradient", gradient)?;
        let slope = self.trainable.slope(&direction, &gradient)?;
        if slope == 0.0 {
            return Err(Error::ZeroSlope);
        }
        Ok(Quality {
            slope,
            curvature: self.respond(&direction)?.curvature,
        })
    }

    /// Δᵀg.
    ///
    /// # Errors
    ///
    /// As [`curvature`](Self::curvature).
    pub fn slope(
        &self,
        direction: &GradientsParams,
        gradient: &GradientsParams,
    ) -> Result<f64, Error> {
        let direction = self.trainable.check("direction", direction)?;
        let gradient = self.trainable.check("gradient", gradient)?;
        self.trainable.slope(&direction, &gradient)
    }

    /// ΔᵀFΔ.
    ///
    /// # Errors
    ///
    /// - [`Error::ForeignDirection`] for entries that are not trainable parameters of the module,
    ///   [`Error::RowShape`] for one of another shape, [`Error::NonFiniteDirection`];
    /// - [`Error::NonFinite`] if outputs are NaN or infinite on the way along Δ, [`Error::Size`] if
    ///   `forward` gives other shapes from one call to the next;
    /// - for the recorded methods, those of [`RecordedBatch::collect`](crate::jacobian::RecordedBatch);
    /// - [`Error::NestedRecording`] inside a recording.
    pub fn curvature(&self, direction: &GradientsParams) -> Result<Curvature, Error> {
        let direction = self.trainable.check("direction", direction)?;
        Ok(self.respond(&direction)?.curvature)
    }

    /// FΔ, in sum form.
    ///
    /// One forward and backward pass more than [`curvature`](Self::curvature).
    ///
    /// # Errors
    ///
    /// As [`curvature`](Self::curvature).
    pub fn product(&self, direction: &GradientsParams) -> Result<GradientsParams, Error> {
        let direction = self.trainable.check("direction", direction)?;
        let curved = self.respond(&direction)?.curved;
        let z = (self.forward)(&self.still);
        same_outputs(&z, &self.z)?;
        if !z.is_tracked() {
            return Err(Error::NothingRecorded);
        }
        let curved = curved.cast(z.dtype());
        let mut grads = (z * curved).sum().backward();
        let ids: Vec<_> = self.trainable.params.iter().map(|param| param.id).collect();
        Ok(GradientsParams::from_params(&mut grads, self.module, &ids))
    }

    fn respond(&self, direction: &Checked) -> Result<Response, Error> {
        refuse_recording()?;
        let squares = self.trainable.squares("direction", direction)?;
        let along = Along { direction, squares };
        match self.fisher.method {
            Method::Auto => self.automatic(&along),
            method => self.by(method, &along),
        }
    }

    fn automatic(&self, along: &Along<'_>) -> Result<Response, Error> {
        if let Some(method) = self.chosen.get() {
            return self.by(*method, along);
        }
        let [_, positions, classes] = self.z.dims();
        let method = match (positions * classes <= FEW_OUTPUTS, self.coarse) {
            (true, _) => Method::Exact,
            (false, false) => Method::Differences,
            (false, true) => Method::MonteCarlo { draws: 16, seed: 0 },
        };
        let (method, response) = match self.by(method, along) {
            Err(Error::UnrecordedUse { .. } | Error::NothingRecorded) => {
                (Method::Differences, self.by(Method::Differences, along)?)
            }
            response => (method, response?),
        };
        let _ = self.chosen.set(method);
        Ok(response)
    }

    fn by(&self, method: Method, along: &Along<'_>) -> Result<Response, Error> {
        match method {
            Method::Exact => self.exact(along),
            Method::MonteCarlo { draws, seed } => self.monte_carlo(along, draws, seed),
            Method::Differences | Method::Auto => self.differences(along),
        }
    }

    fn exact(&self, along: &Along<'_>) -> Result<Response, Error> {
        let record = || {
            let group = self.fisher.group.as_ref();
            OutputRows::record(&self.still, group, &self.forward, &self.z)
        };
        let (rows, fresh) = kept(&self.outputs, record)?;
        let passes = if fresh { rows.passes() } else { 0 };
        let u = rows.rates(&self.trainable.params, &along.direction.0, &self.z)?;
        let cost = Cost {
            backward: passes,
            forward: 0,
        };
        Ok(self.response(Method::Exact, u, 0.0, cost))
    }

    fn differences(&self, along: &Along<'_>) -> Result<Response, Error> {
        let forward = |module: &M| (self.forward)(module);
        let epsilon = self.trainable.epsilon;
        let found = rates(
            &self.plain,
            epsilon,
            along.direction,
            along.squares,
            forward,
            &self.z,
        )?;
        let cost = Cost {
            forward: found.forwards,
            backward: 0,
        };
        // In the norm of F, squared. Where rounding dominates, it put 1.6 times as much into the
        // rates as into the difference, which may also be small by luck.
        let off = self.variances(found.difference).iter().sum::<f64>();
        let rounding = self.fisher.loss.bound(&self.z) * found.rounding * found.rounding;
        let off = 16.0 * (off + rounding);
        let mut response = self.response(Method::Differences, found.rates, 0.0, cost);
        // The triangle inequality.
        let value = response.curvature.value;
        response.curvature.error = 2.0 * (value * off).sqrt() + off;
        Ok(response)
    }

    fn monte_carlo(&self, along: &Along<'_>, draws: usize, seed: u64) -> Result<Response, Error> {
        let record = || {
            DrawnRows::record(
                &self.still,
                self.fisher.group.as_ref(),
                &self.forward,
                &self.z,
                self.fisher.loss,
                self.padding.as_ref(),
                (draws, seed),
            )
        };
        let (rows, fresh) = kept(&self.drawn, record)?;
        let passes = if fresh { rows.passes() } else { 0 };
        let estimate = rows.estimate(&self.trainable.params, &along.direction.0)?;
        Ok(Response {
            curved: estimate.curved,
            curvature: Curvature {
                value: estimate.per_sample.iter().sum(),
                error: estimate.standard_error,
                per_sample: estimate.per_sample,
                method: Method::MonteCarlo { draws, seed },
                cost: Cost {
                    forward: 0,
                    backward: passes,
                },
            },
        })
    }

    fn response(&self, method: Method, u: Tensor<3>, error: f64, cost: Cost) -> Response {
        let per_sample = self.variances(u.clone());
        Response {
            curved: self.fisher.loss.curved(&self.z, u),
            curvature: Curvature {
                value: per_sample.iter().sum(),
                error,
                per_sample,
                method,
                cost,
            },
        }
    }

    /// uᵀHu for each sample.
    fn variances(&self, u: Tensor<3>) -> Vec<f64> {
        // Squares of rates along an undamped direction overflow f32.
        let largest = to_host(u.clone().abs().max())[0];
        if largest == 0.0 {
            return vec![0.0; u.dims()[0]];
        }
        let variances = self.fisher.loss.variances(&self.z, u / largest).sum_dim(1);
        let variances = to_host(variances).into_iter();
        variances.map(|v| v * largest * largest).collect()
    }
}

/// A direction with its squared length and that of the parameters it moves.
struct Along<'a> {
    direction: &'a Checked,
    squares: [f64; 2],
}

/// H u and uᵀHu along one direction.
struct Response {
    curved: Tensor<3>,
    curvature: Curvature,
}

/// What the cell holds, made first if need be, and whether it was.
fn kept<T>(
    cell: &OnceCell<T>,
    make: impl FnOnce() -> Result<T, Error>,
) -> Result<(&T, bool), Error> {
    if let Some(value) = cell.get() {
        return Ok((value, false));
    }
    let value = make()?;
    Ok((cell.get_or_init(|| value), true))
}

/// Passes in here would be recorded there.
fn refuse_recording() -> Result<(), Error> {
    match recorder() {
        Some(_) => Err(Error::NestedRecording),
        None => Ok(()),
    }
}
