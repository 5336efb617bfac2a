//! What momentum in the solve keeps from step to step: the previous update.

use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Shape, Tensor};

use crate::error::Error;
use crate::jacobian::Jacobian;
use crate::params::{Direction, ParamInfo};

/// The previous update Δ_prev of a method with `solve_momentum`, as a module of frozen parameters:
/// Burn's records save and load it.
///
/// It is what the last solve gave: before the trust region, normalisation, step size, plain
/// momentum and weight decay, none of which change what the next batch is compared with. It takes
/// as much memory as the parameters that the method covers, in f32 (f64 for parameters in f64).
///
/// ```
/// use burn::module::Module;
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_ief::IefConfig;
///
/// let model = LinearConfig::new(3, 2).init(&Device::flex().autodiff());
/// let ief = IefConfig::new().with_solve_momentum(0.9).build();
/// let previous = ief.new_state(&model);
/// assert_eq!(previous.num_params(), 8);
/// let record = previous.into_record().into_bytes()?;
/// // … in another process:
/// let record = burn::store::ModuleRecord::from_bytes(record)?;
/// let previous = ief.new_state(&model).load_record(record);
/// # let _ = previous;
/// # Ok::<(), burn::store::RecordError>(())
/// ```
#[derive(Module, Debug)]
pub struct PreviousUpdate {
    /// Flattened, one for each covered parameter in the module's order.
    entries: Vec<Param<Tensor<1>>>,
    #[module(skip)]
    layout: Vec<Column>,
}

/// The parameter that an entry belongs to.
#[derive(Debug, Clone, PartialEq)]
struct Column {
    path: String,
    shape: Shape,
}

impl Column {
    fn new(param: &ParamInfo) -> Self {
        Self {
            path: param.path.clone(),
            shape: param.shape.clone(),
        }
    }

    fn describe(column: Option<&Self>) -> String {
        match column {
            Some(Self { path, shape }) => format!("`{path}` {:?}", shape.as_slice()),
            None => "nothing more".into(),
        }
    }
}

impl PreviousUpdate {
    /// Zeros for the trainable parameters of a module that `group` matches.
    pub(super) fn new<M: Module>(module: &M, group: Option<&ParamGroup>) -> Self {
        let covered = Covered::of(module, group);
        let entries = covered.iter().map(|covered| {
            let size = [covered.param.shape.num_elements()];
            let zeros = Tensor::<1>::zeros(size, (&covered.device, covered.dtype));
            Param::initialized(ParamId::new(), zeros)
        });
        Self {
            entries: entries.collect(),
            layout: covered.iter().map(|c| Column::new(&c.param)).collect(),
        }
    }

    /// That of a method which keeps nothing.
    pub(super) fn nothing() -> Self {
        Self {
            entries: Vec::new(),
            layout: Vec::new(),
        }
    }

    /// Refuse other parameters than those that this was made for.
    fn fits(&self, params: &[ParamInfo]) -> Result<(), Error> {
        let count = self.layout.len().max(params.len());
        for index in 0..count {
            let expected = params.get(index).map(Column::new);
            let found = self.layout.get(index);
            if expected.as_ref() != found {
                return Err(Error::ForeignState {
                    expected: Column::describe(expected.as_ref()),
                    found: Column::describe(found),
                });
            }
        }
        Ok(())
    }

    /// μJΔ_prev, one entry for each row.
    pub(super) fn start(&self, jacobian: &Jacobian, momentum: f64) -> Result<Vec<f64>, Error> {
        self.fits(jacobian.params())?;
        let mut direction = Direction::default();
        for (param, entry) in jacobian.params().iter().zip(&self.entries) {
            direction.add(param.id, entry.val());
        }
        let mut image = jacobian.image(&direction);
        image.iter_mut().for_each(|x| *x *= momentum);
        Ok(image)
    }

    /// Take what the solve added, `Δ = μΔ_prev + δ`: keep Δ, and put `scale` Δ in the place of δ.
    pub(crate) fn advance(
        &mut self,
        params: &[ParamInfo],
        grads: &mut GradientsParams,
        momentum: f64,
        scale: f64,
    ) -> Result<(), Error> {
        self.fits(params)?;
        let mut added = Direction::take_gradients(params, grads)?;
        let mut updates = Direction::default();
        let entries = std::mem::take(&mut self.entries).into_iter();
        let entries = entries.zip(params).map(|(entry, param)| {
            let added = added.remove(param.id);
            entry.map(|previous| {
                let update = match added {
                    Some(added) => {
                        let place = (added.device(), previous.dtype());
                        let previous = previous.to_device(&place.0) * momentum;
                        previous + added.cast(place.1)
                    }
                    // A parameter that nothing has used yet is left to itself, not moved by zero:
                    // weight decay would.
                    None if is_zero(&previous) => return previous,
                    None => previous * momentum,
                };
                let step = match scale == 1.0 {
                    true => update.clone(),
                    false => update.clone() * scale,
                };
                updates.add(param.id, step);
                update
            })
        });
        self.entries = entries.collect();
        updates.register(params, grads);
        Ok(())
    }
}

fn is_zero(x: &Tensor<1>) -> bool {
    x.clone().equal_elem(0.0).all().into_scalar::<bool>()
}

/// A trainable parameter that a natural gradient covers.
pub(crate) struct Covered {
    pub param: ParamInfo,
    device: Device,
    /// That of the update.
    dtype: DType,
}

impl Covered {
    /// Those of a module, in its order.
    pub fn of<M: Module>(module: &M, group: Option<&ParamGroup>) -> Vec<Self> {
        let mut walk = Walk {
            group,
            path: Vec::new(),
            covered: Vec::new(),
        };
        module.visit(&mut walk);
        walk.covered
    }
}

struct Walk<'a> {
    group: Option<&'a ParamGroup>,
    path: Vec<String>,
    covered: Vec<Covered>,
}

impl ModuleVisitor for Walk<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        let inside = |group: &ParamGroup| group.matches(&param.id, Some(&path));
        if !param.is_require_grad() || !self.group.is_none_or(inside) {
            return;
        }
        let value = param.base();
        self.covered.push(Covered {
            param: ParamInfo::at(path, param),
            device: value.device().inner(),
            dtype: match value.dtype() {
                DType::F64 => DType::F64,
                _ => DType::F32,
            },
        });
    }
}
