//! γ in f32: what is refused, what `Auto` chooses, what a γ costs, and how far differences go.

use burn::module::{Lora, Module, ModuleMapper, Param};
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::activation::relu;
use burn::tensor::{Bool, DType, Device, Distribution, Int, Tensor};
use burn_ief::Error;
use burn_ief::Tape;
use burn_ief::error::EvalError;
use burn_ief::eval::{Fisher, GammaMethod, LossKind, summed_gradient};
use burn_ief::nn::ForwardRecorded;

const SAMPLES: usize = 6;

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    dropout: Dropout,
    last: Linear,
}

impl Net {
    fn new(classes: usize, device: &Device) -> Self {
        Self {
            first: LinearConfig::new(8, 32).init(device),
            dropout: DropoutConfig::new(0.5).init(),
            last: LinearConfig::new(32, classes).init(device),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = relu(self.first.forward_recorded(x));
        self.last.forward_recorded(self.dropout.forward_recorded(x))
    }

    fn forward_plain(&self, x: Tensor<2>) -> Tensor<2> {
        self.last.forward(relu(self.first.forward(x)))
    }
}

fn device() -> Device {
    let device = Device::flex().autodiff();
    device.seed(3);
    device
}

fn inputs(device: &Device) -> Tensor<2> {
    Tensor::random([SAMPLES, 8], Distribution::Normal(0.0, 1.0), device)
}

/// Some direction: the gradient of a sum of squares, which moves every class differently.
fn some_gradient(net: &Net, x: &Tensor<2>) -> GradientsParams {
    some_scaled(net, x, 1.0)
}

fn fisher(method: GammaMethod) -> Fisher {
    Fisher::new(LossKind::CrossEntropy).with_method(method)
}

#[test]
fn few_outputs_are_exact_and_many_take_differences_at_most_three_passes() {
    let device = device();
    for (classes, expected) in [(10, GammaMethod::Exact), (11, GammaMethod::Differences)] {
        let (net, x) = (Net::new(classes, &device), inputs(&device));
        let calls = std::cell::Cell::new(0);
        let at = Fisher::new(LossKind::CrossEntropy).at(&net, |net| {
            calls.set(calls.get() + 1);
            net.forward(x.clone())
        });
        let at = at.unwrap();
        let delta = some_gradient(&net, &x);
        let curvature = at.curvature(&delta).unwrap();
        assert_eq!(curvature.method, expected);
        let passes = curvature.passes;
        assert_eq!(calls.get(), 1 + passes.forward + passes.backward);
        if expected == GammaMethod::Differences {
            // A forward pass is about a third of a training pass.
            assert!((4..=5).contains(&calls.get()), "{}", calls.get());
            assert_eq!(passes.backward, 0);
        }
    }
}

#[test]
fn an_unrecorded_model_falls_back_to_differences() {
    let device = device();
    let (net, x) = (Net::new(3, &device), inputs(&device));
    let delta = some_gradient(&net, &x);
    let auto = fisher(GammaMethod::Auto);
    let at = auto.at(&net, |net| net.forward_plain(x.clone())).unwrap();
    let found = at.curvature(&delta).unwrap();
    assert_eq!(found.method, GammaMethod::Differences);
    let exact = fisher(GammaMethod::Exact);
    let at = exact.at(&net, |net| net.forward_plain(x.clone())).unwrap();
    let error = at.curvature(&delta).unwrap_err();
    assert!(
        matches!(error, Error::UnrecordedUse { .. } | Error::NothingRecorded),
        "{error}"
    );
}

/// Dropout is off in every method: two evaluations agree to the bit, and methods with each other.
#[test]
fn methods_agree_in_f32_with_dropout_in_the_model() {
    let device = device();
    let (net, x) = (Net::new(5, &device), inputs(&device));
    let delta = some_gradient(&net, &x);
    let at = |method| {
        let at = fisher(method)
            .at(&net, |net| net.forward(x.clone()))
            .unwrap();
        at.curvature(&delta).unwrap()
    };
    let (exact, again) = (at(GammaMethod::Exact), at(GammaMethod::Exact));
    assert_eq!(exact, again);
    let differences = at(GammaMethod::Differences);
    let off = (differences.value / exact.value - 1.0).abs();
    assert!(off < 2e-3, "{off}");
    assert!((differences.value - exact.value).abs() <= differences.error);
    let drawn = at(GammaMethod::MonteCarlo {
        draws: 400,
        seed: 9,
    });
    let off = (drawn.value - exact.value).abs();
    assert!(off < 4.0 * drawn.error, "{off} {}", drawn.error);
    assert_eq!(
        drawn,
        at(GammaMethod::MonteCarlo {
            draws: 400,
            seed: 9
        })
    );
    assert_ne!(
        drawn,
        at(GammaMethod::MonteCarlo {
            draws: 400,
            seed: 8
        })
    );
}

/// A head that starts at zero, and directions of extreme length.
#[test]
fn differences_find_their_step() {
    let device = device();
    let x = inputs(&device);
    let mut net = Net::new(12, &device);
    let delta = some_gradient(&net, &x);
    let reference = {
        let at = fisher(GammaMethod::Exact)
            .at(&net, |net| net.forward(x.clone()))
            .unwrap();
        at.curvature(&delta).unwrap().value
    };
    for length in [1e-12, 1e-3, 1e3, 1e12] {
        let longer = some_scaled(&net, &x, length);
        let at = fisher(GammaMethod::Differences).at(&net, |net| net.forward(x.clone()));
        let found = at.unwrap().curvature(&longer).unwrap().value / (length * length);
        assert!(
            (found / reference - 1.0).abs() < 5e-3,
            "{length}: {found} {reference}"
        );
    }
    net.last.weight = Param::initialized(
        net.last.weight.id,
        Tensor::zeros([32, 12], &device).require_grad(),
    );
    net.last.bias = None;
    let delta = some_gradient(&net, &x);
    let at = |method| {
        let at = fisher(method)
            .at(&net, |net| net.forward(x.clone()))
            .unwrap();
        at.curvature(&delta).unwrap().value
    };
    let (exact, found) = (at(GammaMethod::Exact), at(GammaMethod::Differences));
    assert!((found / exact - 1.0).abs() < 1e-3, "{found} {exact}");
}

fn some_scaled(net: &Net, x: &Tensor<2>, length: f64) -> GradientsParams {
    let z = net.forward_plain(x.clone());
    let targets = Tensor::<1, Int>::arange(0..z.dims()[1] as i64, &z.device());
    let targets = targets.float().unsqueeze::<2>();
    summed_gradient((z - targets).square().sum().backward(), net, 1.0 / length)
}

#[test]
fn directions_that_do_not_fit_are_refused() {
    let device = device();
    let (net, x) = (Net::new(4, &device), inputs(&device));
    let at = fisher(GammaMethod::Auto)
        .at(&net, |net| net.forward(x.clone()))
        .unwrap();
    let g = some_gradient(&net, &x);

    let other = Net::new(4, &device);
    let foreign = some_gradient(&other, &x);
    assert_eq!(
        at.quality(&foreign, &g).unwrap_err(),
        Error::Eval(EvalError::ForeignDirection {
            what: "direction",
            entries: 4,
            matched: 0
        })
    );
    assert!(matches!(
        at.quality(&g, &foreign),
        Err(Error::Eval(EvalError::ForeignDirection {
            what: "gradient",
            ..
        }))
    ));
    assert!(matches!(
        at.curvature(&GradientsParams::new()),
        Err(Error::Eval(EvalError::ForeignDirection { entries: 0, .. }))
    ));

    let mut bad = some_gradient(&net, &x);
    bad.register(
        net.last.weight.id,
        Tensor::<2>::full([32, 4], f32::NAN, &device.clone().inner()),
    );
    assert_eq!(
        at.curvature(&bad).unwrap_err(),
        Error::Eval(EvalError::NonFiniteDirection {
            what: "direction",
            parameters: vec!["last.weight".into()]
        })
    );

    let mut bad = some_gradient(&net, &x);
    bad.register(
        net.last.weight.id,
        Tensor::<2>::ones([4, 32], &device.clone().inner()),
    );
    assert!(matches!(at.curvature(&bad), Err(Error::RowShape { .. })));

    let mut zero = GradientsParams::new();
    zero.register(
        net.last.weight.id,
        Tensor::<2>::zeros([32, 4], &device.clone().inner()),
    );
    assert_eq!(
        at.quality(&zero, &g).unwrap_err(),
        Error::Eval(EvalError::ZeroSlope)
    );
    for method in [GammaMethod::Exact, GammaMethod::Differences] {
        let at = fisher(method)
            .at(&net, |net| net.forward(x.clone()))
            .unwrap();
        assert_eq!(at.curvature(&zero).unwrap().value, 0.0);
    }
}

#[test]
fn batches_and_settings_that_do_not_fit_are_refused() {
    let device = device();
    let (net, x) = (Net::new(4, &device), inputs(&device));
    let forward = |net: &Net| net.forward(x.clone());
    let padding = Tensor::<2, Bool>::full([SAMPLES, 2], false, &device);
    let refused = fisher(GammaMethod::Auto)
        .with_padding(padding)
        .at(&net, forward);
    assert_eq!(
        refused.err(),
        Some(Error::Size {
            what: "positions of the padding",
            expected: 1,
            found: 2
        })
    );
    let refused = fisher(GammaMethod::MonteCarlo { draws: 0, seed: 0 }).at(&net, forward);
    assert!(matches!(
        refused.err(),
        Some(Error::Config { field: "draws", .. })
    ));
    let frozen = net.clone().no_grad();
    let refused = fisher(GammaMethod::Auto).at(&frozen, forward);
    assert_eq!(refused.err(), Some(Error::NothingTrainable));
    let broken = |net: &Net| {
        let z = net.forward(x.clone());
        let row = Tensor::<2>::full([1, 4], f32::INFINITY, &z.device());
        z.slice_assign([2..3, 0..4], row)
    };
    let refused = fisher(GammaMethod::Auto).at(&net, broken);
    assert_eq!(
        refused.err(),
        Some(Error::NonFinite {
            what: "outputs",
            samples: vec![2]
        })
    );
    let at = fisher(GammaMethod::Differences).at(&net, forward).unwrap();
    let g = some_gradient(&net, &x);
    let tape = Tape::start();
    assert_eq!(at.curvature(&g).unwrap_err(), Error::NestedRecording);
    assert!(fisher(GammaMethod::Auto).at(&net, forward).is_err());
    drop(tape);
    assert!(at.curvature(&g).is_ok());
}

/// Adapters of Burn's own, whose second factor starts at zero.
#[test]
fn adapted_models_are_judged_on_their_factors() {
    let device = device();
    let x = inputs(&device);
    let net = Net::new(4, &device).apply_lora(Lora::new(2, 4.0));
    let delta = some_gradient(&net, &x);
    let count = delta.len();
    let at = |method| {
        let at = fisher(method)
            .at(&net, |net| net.forward(x.clone()))
            .unwrap();
        assert_eq!(at.product(&delta).unwrap().len(), count);
        at.curvature(&delta).unwrap().value
    };
    let (exact, found) = (at(GammaMethod::Exact), at(GammaMethod::Differences));
    assert!((found / exact - 1.0).abs() < 2e-3, "{found} {exact}");
}

struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| value.inner().cast(self.0).autodiff().require_grad())
    }
}

/// Small steps are lost in half precision: many outputs take draws there.
#[test]
fn half_precision_takes_draws() {
    let device = device();
    let net = Net::new(16, &device).map(&mut Cast(DType::BF16));
    let full = net.clone().map(&mut Cast(DType::F32));
    let x = inputs(&device);
    let delta = some_gradient(&full, &x);
    let at = fisher(GammaMethod::Exact)
        .at(&full, |net| net.forward(x.clone()))
        .unwrap();
    let exact = at.curvature(&delta).unwrap().value;
    let at = fisher(GammaMethod::Auto)
        .at(&net, |net| net.forward(x.clone().cast(DType::BF16)))
        .unwrap();
    let found = at.curvature(&delta).unwrap();
    assert!(matches!(found.method, GammaMethod::MonteCarlo { .. }));
    let off = (found.value - exact).abs();
    assert!(off < 4.0 * found.error + 0.05 * exact, "{off} of {exact}");
}
