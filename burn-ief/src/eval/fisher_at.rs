//! The Fisher matrix of one batch, as a quadratic form and as an operator.

use std::cell::OnceCell;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Bool, Tensor};

use super::copies::evaluating;
use super::differences::rates;
use super::exact::OutputRows;
use super::fisher::Fisher;
use super::gamma_method::GammaMethod;
use super::monte_carlo::{DrawnRows, Draws};
use super::outputs::{check_finite, check_same_shape, expand_padding, flattened};
use super::quality::{FisherCurvature, PassCount, Quality};
use super::trainable::{Checked, SquaredLengths, Trainable, epsilon};
use crate::error::{Error, EvalError};
use crate::params::widen;
use crate::record::recorder;

/// Most outputs of a sample for which [`GammaMethod::Auto`] makes one pass per output.
const FEW_OUTPUTS: usize = 10;
/// Above this rounding unit, parameters round off the small steps of differences.
const COARSE: f64 = 1e-4;

/// The Fisher matrix of one batch, at the parameters of one model; see [`Fisher::at`].
///
/// It holds the outputs and the passes that a method shares between directions, so judge all
/// directions of a batch with one of these. It is neither `Send` nor `Sync`, because it calls
/// `forward` again and keeps passes.
pub struct FisherAt<'a, M> {
    fisher: Fisher,
    /// A copy of the model in evaluation mode with gradients, for recorded passes. The two copies
    /// share the memory of the parameters.
    with_gradients: M,
    /// A copy of the model in evaluation mode without gradients, for forward passes alone: they
    /// build no graph.
    without_gradients: M,
    /// Outputs `[M, T, C]`, zero at padding.
    forward: Box<dyn Fn(&M) -> Tensor<3> + 'a>,
    /// `[M, T, C]`.
    padding: Option<Tensor<3, Bool>>,
    /// The outputs at the parameters, off the tape and in f32 at least.
    z: Tensor<3>,
    /// Whether differences are too coarse for the model's precision.
    coarse: bool,
    trainable: Trainable,
    /// What [`GammaMethod::Auto`] chose for the first direction.
    chosen: OnceCell<GammaMethod>,
    outputs: OnceCell<OutputRows>,
    drawn: OnceCell<DrawnRows>,
}

/// What the outputs do along one direction.
struct Response {
    curvature: FisherCurvature,
    /// H u `[M, T, C]`.
    output_product: Tensor<3>,
}

impl Fisher {
    /// The Fisher matrix of one batch at the model's parameters.
    ///
    /// `forward` computes the outputs `[M, …, C]` of the batch (logits, not probabilities) and must
    /// return the same whenever it is called. It is called once here. For [`GammaMethod::Exact`] and
    /// [`GammaMethod::MonteCarlo`] it must use recorded calls.
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn::tensor::{Device, Tensor};
    /// use burn_ief::eval::{Fisher, LossKind, summed_gradient};
    ///
    /// let device = Device::flex().autodiff();
    /// let model = LinearConfig::new(2, 1).with_bias(false).init(&device);
    /// let x = Tensor::<2>::from_floats([[3.0, 0.0], [0.0, 4.0]], &device);
    /// let at = Fisher::new(LossKind::LeastSquares).at(&model, |m| m.forward(x.clone()))?;
    ///
    /// // F = XᵀX; along (3, 4) that is 9·9 + 16·16.
    /// let v = summed_gradient(model.forward(x.clone()).sum().backward(), &model, 1.0);
    /// let curvature = at.curvature(&v)?;
    /// assert!((curvature.value - 337.0).abs() < 0.1);
    /// # Ok::<(), burn_ief::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::NothingTrainable`] if no parameter (of the group) is trainable.
    /// - [`Error::NonFinite`] naming samples with NaN or infinity in their outputs.
    /// - [`Error::Size`] if there are no outputs, or the padding does not fit them.
    /// - [`Error::Config`] for Monte Carlo without draws.
    /// - [`Error::NestedRecording`] inside a recording.
    pub fn at<'a, M: Module, const D: usize>(
        &self,
        module: &M,
        forward: impl Fn(&M) -> Tensor<D> + 'a,
    ) -> Result<FisherAt<'a, M>, Error> {
        if let GammaMethod::MonteCarlo { draws: 0, .. } = self.method {
            return Err(Error::config("draws", 0, "at least 1"));
        }
        FisherAt::new(self.clone(), module, forward)
    }
}

impl<'a, M: Module> FisherAt<'a, M> {
    /// The errors are those of [`Fisher::at`].
    fn new<const D: usize>(
        fisher: Fisher,
        module: &M,
        forward: impl Fn(&M) -> Tensor<D> + 'a,
    ) -> Result<Self, Error> {
        refuse_recording()?;
        let trainable = Trainable::of(module, fisher.group.as_ref())?;
        let without_gradients = module.valid();
        let z = flattened(forward(&without_gradients));
        let coarse = trainable.epsilon.max(epsilon(z.dtype())) > COARSE;
        let mut z = widen(z.inner());
        if z.dims().contains(&0) {
            return Err(Error::Size {
                what: "outputs of the batch",
                expected: 1,
                found: 0,
            });
        }
        let padding = match &fisher.padding {
            Some(padding) => Some(expand_padding(padding, &z)?),
            None => None,
        };
        let forward: Box<dyn Fn(&M) -> Tensor<3> + 'a> = match padding.clone() {
            Some(padding) => {
                z = z.mask_fill(padding.clone(), 0.0);
                Box::new(move |module| flattened(forward(module)).mask_fill(padding.clone(), 0.0))
            }
            None => Box::new(move |module| flattened(forward(module))),
        };
        check_finite("outputs", &z)?;
        Ok(Self {
            fisher,
            with_gradients: evaluating(module),
            without_gradients,
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

    /// γ of a direction, with the slope and the curvature that it is made of.
    ///
    /// `gradient` is the gradient of the **summed** loss, see
    /// [`summed_gradient`](super::summed_gradient). The direction may have any scale and sign;
    /// updates of this crate and of Burn's optimizers are positive, `θ ← θ − η Δ`.
    ///
    /// # Errors
    ///
    /// As [`curvature`](Self::curvature), for the direction and for the gradient;
    /// [`EvalError::ZeroSlope`](crate::error::EvalError::ZeroSlope) if Δᵀg is zero.
    pub fn quality(
        &self,
        direction: &GradientsParams,
        gradient: &GradientsParams,
    ) -> Result<Quality, Error> {
        let slope = self.slope(direction, gradient)?;
        if slope == 0.0 {
            return Err(Error::Eval(EvalError::ZeroSlope));
        }
        Ok(Quality {
            slope,
            curvature: self.curvature(direction)?,
        })
    }

    /// Δᵀg: how fast the summed loss falls along Δ.
    ///
    /// # Errors
    ///
    /// [`EvalError::ForeignDirection`](crate::error::EvalError::ForeignDirection), [`Error::RowShape`] and [`EvalError::NonFiniteDirection`](crate::error::EvalError::NonFiniteDirection), as
    /// [`curvature`](Self::curvature), for the direction and for the gradient.
    pub fn slope(
        &self,
        direction: &GradientsParams,
        gradient: &GradientsParams,
    ) -> Result<f64, Error> {
        let direction = self.trainable.check("direction", direction)?;
        let gradient = self.trainable.check("gradient", gradient)?;
        self.trainable.slope(&direction, &gradient)
    }

    /// ΔᵀFΔ of the batch, in sum form.
    ///
    /// # Errors
    ///
    /// - [`EvalError::ForeignDirection`](crate::error::EvalError::ForeignDirection) for entries that do not belong to trainable parameters of the
    ///   module, [`Error::RowShape`] for an entry of another shape than its parameter,
    ///   [`EvalError::NonFiniteDirection`](crate::error::EvalError::NonFiniteDirection) for entries that are NaN or infinite.
    /// - [`Error::NonFinite`] if outputs along Δ are NaN or infinite, [`Error::Size`] if `forward`
    ///   returns other shapes from one call to the next.
    /// - For the recorded methods, the errors of
    ///   [`RecordedBatch::collect`](crate::jacobian::RecordedBatch::collect).
    /// - [`Error::NestedRecording`] inside a recording.
    pub fn curvature(&self, direction: &GradientsParams) -> Result<FisherCurvature, Error> {
        Ok(self.response(direction)?.curvature)
    }

    /// FΔ, in sum form, with an entry for each trainable parameter (of the group).
    ///
    /// It takes one forward and backward pass more than [`curvature`](Self::curvature).
    ///
    /// # Errors
    ///
    /// As [`curvature`](Self::curvature); [`Error::NothingTrainable`] if the outputs do not depend on
    /// a trainable parameter.
    pub fn product(&self, direction: &GradientsParams) -> Result<GradientsParams, Error> {
        let output_product = self.response(direction)?.output_product;
        let z = (self.forward)(&self.with_gradients);
        check_same_shape(&z, &self.z)?;
        // Without a graph `backward` would panic.
        if !z.is_tracked() {
            return Err(Error::NothingTrainable);
        }
        let output_product = output_product.cast(z.dtype());
        let mut grads = (z * output_product).sum().backward();
        let ids: Vec<_> = self.trainable.params.iter().map(|param| param.id).collect();
        let module = &self.with_gradients;
        Ok(GradientsParams::from_params(&mut grads, module, &ids))
    }

    /// What the outputs do along a direction, by the method of the settings.
    fn response(&self, direction: &GradientsParams) -> Result<Response, Error> {
        refuse_recording()?;
        let direction = self.trainable.check("direction", direction)?;
        let squares = self.trainable.squared_lengths("direction", &direction)?;
        let method = match (self.fisher.method, self.chosen.get()) {
            (GammaMethod::Auto, Some(&chosen)) => chosen,
            (GammaMethod::Auto, None) => return self.first_response(&direction, &squares),
            (method, _) => method,
        };
        self.response_by(method, &direction, &squares)
    }

    /// The response to the first direction that [`GammaMethod::Auto`] meets, which shows whether the
    /// model records.
    fn first_response(
        &self,
        direction: &Checked,
        squares: &SquaredLengths,
    ) -> Result<Response, Error> {
        let [_, positions, classes] = self.z.dims();
        let mut method = if positions * classes <= FEW_OUTPUTS {
            GammaMethod::Exact
        } else if self.coarse {
            GammaMethod::MonteCarlo { draws: 16, seed: 0 }
        } else {
            GammaMethod::Differences
        };
        let mut response = self.response_by(method, direction, squares);
        if let Err(Error::UnrecordedUse { .. } | Error::NothingRecorded) = response {
            method = GammaMethod::Differences;
            response = self.response_by(method, direction, squares);
        }
        if response.is_ok() {
            self.chosen.get_or_init(|| method);
        }
        response
    }

    fn response_by(
        &self,
        method: GammaMethod,
        direction: &Checked,
        squares: &SquaredLengths,
    ) -> Result<Response, Error> {
        match method {
            GammaMethod::Exact => self.exact(direction),
            GammaMethod::MonteCarlo { draws, seed } => self.monte_carlo(direction, draws, seed),
            GammaMethod::Differences | GammaMethod::Auto => self.differences(direction, squares),
        }
    }

    fn exact(&self, direction: &Checked) -> Result<Response, Error> {
        let record = || {
            let group = self.fisher.group.as_ref();
            OutputRows::record(&self.with_gradients, group, &self.forward, &self.z)
        };
        let (rows, is_new) = kept(&self.outputs, record)?;
        let passes = PassCount::new(0, if is_new { rows.passes() } else { 0 });
        let u = rows.rates(&direction.0, &self.z)?;
        Ok(self.response_to_rates(u, GammaMethod::Exact, 0.0, passes))
    }

    fn differences(
        &self,
        direction: &Checked,
        squares: &SquaredLengths,
    ) -> Result<Response, Error> {
        let found = rates(
            &self.without_gradients,
            self.trainable.epsilon,
            direction,
            squares,
            &self.forward,
            &self.z,
        )?;
        let passes = PassCount::new(found.forwards, 0);
        // The error of u in the norm of F, squared. Where rounding dominates, its part in the rates
        // was measured as 1.6 times its part in the difference, which may also be small by chance.
        let loss = self.fisher.loss;
        let off = loss.sample_forms(&self.z, found.difference);
        let rounding = loss.largest_form(&self.z) * found.rounding * found.rounding;
        let off = 16.0 * (off.iter().sum::<f64>() + rounding);
        let method = GammaMethod::Differences;
        let mut response = self.response_to_rates(found.rates, method, 0.0, passes);
        // The triangle inequality.
        let value = response.curvature.value;
        response.curvature.error = 2.0 * (value * off).sqrt() + off;
        Ok(response)
    }

    fn monte_carlo(&self, direction: &Checked, draws: usize, seed: u64) -> Result<Response, Error> {
        let record = || {
            let settings = Draws {
                count: draws,
                seed,
                loss: self.fisher.loss,
                padding: self.padding.as_ref(),
            };
            let group = self.fisher.group.as_ref();
            DrawnRows::record(
                &self.with_gradients,
                group,
                &self.forward,
                &self.z,
                &settings,
            )
        };
        let (rows, is_new) = kept(&self.drawn, record)?;
        let passes = PassCount::new(0, if is_new { rows.passes() } else { 0 });
        let estimate = rows.estimate(&direction.0, &self.z)?;
        Ok(Response {
            output_product: estimate.output_product,
            curvature: FisherCurvature {
                value: estimate.per_sample.iter().sum(),
                error: estimate.standard_error,
                per_sample: estimate.per_sample,
                method: GammaMethod::MonteCarlo { draws, seed },
                passes,
            },
        })
    }

    /// uᵀHu and H u for rates u `[M, T, C]`.
    fn response_to_rates(
        &self,
        u: Tensor<3>,
        method: GammaMethod,
        error: f64,
        passes: PassCount,
    ) -> Response {
        let per_sample = self.fisher.loss.sample_forms(&self.z, u.clone());
        Response {
            output_product: self.fisher.loss.product(&self.z, u),
            curvature: FisherCurvature {
                value: per_sample.iter().sum(),
                error,
                per_sample,
                method,
                passes,
            },
        }
    }
}

/// What the cell holds, made by `make` if the cell is empty, and whether it is new.
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

/// # Errors
///
/// [`Error::NestedRecording`] inside a recording, which would record the passes of the evaluation.
fn refuse_recording() -> Result<(), Error> {
    if recorder().is_some() {
        Err(Error::NestedRecording)
    } else {
        Ok(())
    }
}
