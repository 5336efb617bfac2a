//! How the rows that several devices measured come together for the one system of a step.
//!
//! [`Exchange`] are the options; the plan shares layers out to the devices.

mod plan;

use std::collections::HashMap;
use std::time::Duration;

use burn::config::Config;

use self::plan::Plan;
use crate::error::Error;
use crate::jacobian::Jacobian;
use crate::names::named_variants;

/// Up to this many bytes of rows, all of them go to one device: it takes fewer messages.
const GATHERED: usize = 16 << 20;

/// How devices exchange the rows that they measured.
///
/// ```
/// use std::time::Duration;
/// use burn_ief::exchange::{Exchange, ExchangeForm, RowPrecision};
///
/// let exchange = Exchange::new()
///     .with_form("layers".parse::<ExchangeForm>()?)
///     .with_rows(RowPrecision::Half)
///     .with_deadline(Some(Duration::from_secs(60)));
/// assert!(exchange.validate().is_ok());
/// assert!(exchange.with_deadline(Some(Duration::ZERO)).validate().is_err());
/// # Ok::<(), burn_ief::Error>(())
/// ```
///
/// Whatever the form, the step is that of one batch with all samples: the inner products of all rows form one
/// system, which is solved once, on the host. Only with [`RowPrecision::Half`] the rows themselves are
/// rounded.
#[derive(Config, Debug, PartialEq)]
#[non_exhaustive]
pub struct Exchange {
    /// Which rows go where.
    #[config(default = "ExchangeForm::Auto")]
    pub form: ExchangeForm,
    /// The precision of rows on their way.
    #[config(default = "RowPrecision::Exact")]
    pub rows: RowPrecision,
    /// How long a step waits for a device, for its forward and backward pass and for every read; for ever if
    /// `None`. The device is an [`Error::Deadline`] then, and a thread is left behind that waits for it.
    pub deadline: Option<Duration>,
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}

/// Which rows go where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExchangeForm {
    /// [`Gather`](Self::Gather) up to 16 MiB of rows, [`Layers`](Self::Layers) above.
    #[default]
    Auto,
    /// All rows go to the device of the first shard.
    Gather,
    /// Every device gets the rows of all samples for some of the layers, and forms their part of the Gram
    /// matrix and of the update. On D devices it sends about 1/D of what [`Gather`](Self::Gather) sends
    /// to the one device, and the devices share the work and the memory.
    Layers,
}

named_variants!(
    ExchangeForm,
    "form of the exchange",
    Auto = "auto",
    Gather = "gather",
    Layers = "layers"
);

/// The precision of rows on their way from device to device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RowPrecision {
    /// As they are.
    #[default]
    Exact,
    /// In bfloat16 where both devices have it: half the bytes, and an error of the update of about 1e-3 to
    /// 1e-2. The rows of a vocabulary head are sent as they are.
    Half,
}

named_variants!(
    RowPrecision,
    "precision of rows",
    Exact = "exact",
    Half = "half"
);

impl Exchange {
    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a deadline of zero.
    pub fn validate(&self) -> Result<(), Error> {
        match self.deadline {
            Some(Duration::ZERO) => Err(Error::config("exchange.deadline", 0, "more than 0 s")),
            _ => Ok(()),
        }
    }

    /// The rows of all shards as one Jacobian, whose inner products are those of all samples. The steps of
    /// [`NaturalOptimizer`](crate::optim::NaturalOptimizer) do this themselves.
    ///
    /// The rows may be on several devices afterwards, those of each layer on one of them. All products work as on
    /// one device, and updates have each parameter on the device of the first shard.
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn::tensor::{Device, Tensor};
    /// use burn_ief::Tape;
    /// use burn_ief::exchange::Exchange;
    /// use burn_ief::jacobian::Jacobian;
    /// use burn_ief::nn::ForwardRecorded;
    ///
    /// let devices = [Device::flex().autodiff(), Device::flex().autodiff()]; // yours: several GPUs, or servers
    /// let model = LinearConfig::new(3, 2).init(&devices[0]);
    /// let mut shards = Vec::new();
    /// for (samples, device) in [(4, &devices[0]), (2, &devices[1])] {
    ///     let replica = burn::module::Module::fork(model.clone(), device);
    ///     let tape = Tape::start();
    ///     let x = Tensor::<2>::ones([samples, 3], device);
    ///     let grads = replica.forward_recorded(x).sum_dim(1).mean().backward();
    ///     shards.push(Jacobian::from_tape(tape, grads, &replica)?);
    /// }
    /// let rows = Exchange::new().join(shards)?;
    /// assert_eq!((rows.samples(), rows.gram()?.size()), (6, 6));
    /// # Ok::<(), burn_ief::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a field out of range; [`Error::Size`] without shards, or if they have columns for
    /// different parameters; [`Error::Device`] if a device fails.
    pub fn join(&self, jacobians: Vec<Jacobian>) -> Result<Jacobian, Error> {
        self.validate()?;
        let jacobian = Jacobian::side_by_side(jacobians)?.with_deadline(self.deadline);
        let devices = jacobian.devices();
        if devices.len() < 2 {
            return Ok(jacobian);
        }
        let layers = jacobian.layers();
        let bytes = layers.iter().flat_map(|layer| &layer.costs[1..]);
        let bytes: usize = bytes.map(|cost| cost.bytes).sum();
        let shares = match self.form {
            ExchangeForm::Layers => true,
            ExchangeForm::Gather => false,
            ExchangeForm::Auto => bytes > GATHERED,
        };
        let plan = if shares {
            Plan::new(&layers, devices.len())
        } else {
            Plan::on_first(&layers)
        };
        let places = plan
            .places(&layers)
            .map(|(id, place)| (id, devices[place].clone()));
        let places: HashMap<_, _> = places.collect();
        jacobian.shared_out(&places, self.rows == RowPrecision::Half)
    }
}
