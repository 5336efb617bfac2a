//! What it costs to judge an update: one γ against a training pass of the same batch.

mod nets;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor};
use burn_ief::LossScale;
use burn_ief::eval::{Fisher, GammaMethod, LossKind, PassCount, summed_gradient};
use clap::{Parser, ValueEnum};
use programs::table::{Style, Table, number, table};
use programs::{DeviceKind, files};

use crate::call::Call;
use crate::measure::{Effort, interleave, median};
use crate::method::Step;
use crate::operations::Operations;
use nets::{Classifier, Judged, Tokens};

/// Outputs of a sample up to which a pass for each is worth waiting for.
const FEW: usize = 10;

/// Time of one γ evaluation in multiples of a forward and backward pass of the same batch.
///
/// Both take turns in one process. An evaluation is everything that one needs for a batch that it
/// has not seen: outputs, passes, checks of the direction and the gradient, and the sums.
#[derive(Debug, Clone, Parser)]
#[command(name = "gamma")]
pub struct Args {
    /// Settings, comma-separated [default: all].
    #[arg(long, value_delimiter = ',', value_enum)]
    pub settings: Vec<Setting>,

    /// Directions judged on the batch; what they share is counted once, and times are per
    /// direction.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    pub directions: u8,

    /// Write the rows here, as a JSON list.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Device; others than flex need the feature of that name.
    #[arg(long, value_enum, default_value = "flex")]
    pub device: DeviceKind,

    /// Timed rounds.
    #[arg(long, default_value_t = 30)]
    pub rounds: usize,

    /// Seconds after which a way sits the other rounds out (it takes part in three at least).
    #[arg(long, default_value_t = 20.0)]
    pub seconds: f64,
}

/// A model and its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Setting {
    /// MLP 3072-2048-2048-10, M = 64.
    #[value(name = "mlp_10")]
    #[serde(rename = "mlp_10")]
    Few,
    /// MLP 3072-2048-2048-1000, M = 64.
    #[value(name = "mlp_1000")]
    #[serde(rename = "mlp_1000")]
    Many,
    /// Two transformer blocks of width 256 over 64 positions and a head of 1000 tokens at each, M = 16.
    Tokens,
}

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Way {
    /// Forward and backward of the mean loss, sequences folded to 2-D.
    Pass,
    Auto,
    Exact,
    Differences,
    MonteCarlo(usize),
}

impl Way {
    fn method(self) -> Option<GammaMethod> {
        match self {
            Self::Pass => None,
            Self::Auto => Some(GammaMethod::Auto),
            Self::Exact => Some(GammaMethod::Exact),
            Self::Differences => Some(GammaMethod::Differences),
            Self::MonteCarlo(draws) => Some(GammaMethod::MonteCarlo { draws, seed: 0 }),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("forward and backward"),
            Self::Auto => f.write_str("gamma, auto"),
            Self::Exact => f.write_str("gamma, exact"),
            Self::Differences => f.write_str("gamma, differences"),
            Self::MonteCarlo(draws) => write!(f, "gamma, Monte Carlo, {draws} draws"),
        }
    }
}

/// One way in one setting.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
struct Row {
    setting: Setting,
    way: Way,
    /// Directions that share a batch; times are per direction.
    directions: usize,
    /// Forward passes of one evaluation, that of the outputs included, and forward and backward ones.
    forward: usize,
    backward: usize,
    median_ms: Option<f64>,
    min_ms: Option<f64>,
    /// Median over that of a forward and backward pass.
    ratio_to_pass: Option<f64>,
}

/// Measure what the arguments ask for.
///
/// # Errors
///
/// A message for the user: a device that this program was built without, or a file that cannot be
/// written.
pub fn run(args: &Args) -> Result<(), String> {
    let device = args.device.device().map_err(|error| error.to_string())?;
    let settings = if args.settings.is_empty() {
        Setting::value_variants()
    } else {
        &args.settings
    };
    let mut rows = Vec::new();
    for &setting in settings {
        rows.extend(match setting {
            Setting::Few => measure::<Classifier<10>>(args, setting, &device),
            Setting::Many => measure::<Classifier<1000>>(args, setting, &device),
            Setting::Tokens => measure::<Tokens>(args, setting, &device),
        });
        if let Some(path) = &args.json {
            files::write_json(path, &rows).map_err(|error| error.to_string())?;
        }
    }
    println!("{}", report(&rows));
    Ok(())
}

fn measure<N: Judged>(args: &Args, setting: Setting, device: &Device) -> Vec<Row> {
    device.seed(1);
    let device = device.clone().autodiff();
    let work = Work::<N>::new(&device, args.directions.into());
    let mut ways = vec![
        Way::Pass,
        Way::Auto,
        Way::Differences,
        Way::MonteCarlo(1),
        Way::MonteCarlo(16),
    ];
    if N::OUTPUTS <= FEW {
        ways.insert(2, Way::Exact);
    }
    let mut rows: Vec<Row> = ways
        .iter()
        .map(|&way| {
            let cost = work.run(way);
            Row {
                setting,
                way,
                directions: args.directions.into(),
                forward: cost.forward,
                backward: cost.backward,
                median_ms: None,
                min_ms: None,
                ratio_to_pass: None,
            }
        })
        .collect();
    let mut steps: Vec<Box<dyn Step + '_>> = ways
        .iter()
        .map(|&way| Box::new(Timed { work: &work, way }) as Box<dyn Step>)
        .collect();
    let effort = Effort {
        rounds: args.rounds,
        budget: Duration::from_secs_f64(args.seconds.max(0.0)),
    };
    for (row, times) in rows.iter_mut().zip(interleave(&mut steps, effort)) {
        let shared = match row.way {
            Way::Pass => 1.0,
            _ => f64::from(args.directions),
        };
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3 / shared;
        row.median_ms = median(&times).map(milliseconds);
        row.min_ms = times.iter().min().copied().map(milliseconds);
    }
    let pass = rows[0].median_ms;
    for row in &mut rows {
        row.ratio_to_pass = row.median_ms.zip(pass).map(|(time, pass)| time / pass);
    }
    rows
}

/// A model with a batch, and directions to judge.
struct Work<N: Judged> {
    net: N,
    batch: N::Batch,
    labels: Tensor<1, Int>,
    gradient: GradientsParams,
    directions: Vec<GradientsParams>,
    device: Device,
}

impl<N: Judged> Work<N> {
    fn new(device: &Device, directions: usize) -> Self {
        let net = N::new(device);
        let (batch, labels) = net.batch(device);
        let [count] = labels.dims();
        let of = |labels: Tensor<1, Int>| {
            let loss = Self::loss(&net, &batch, labels, &Call::Folded(Operations::Fused));
            summed_gradient(loss.backward(), &net, LossScale::Mean.factor(count))
        };
        // Some other direction: the gradient for other labels.
        let shifted = |k: usize| (labels.clone() + k as i64).remainder_scalar(N::CLASSES as i64);
        Self {
            gradient: of(labels.clone()),
            directions: (1..=directions).map(|k| of(shifted(k))).collect(),
            net,
            batch,
            labels,
            device: device.clone(),
        }
    }

    fn loss(net: &N, batch: &N::Batch, labels: Tensor<1, Int>, call: &Call) -> Tensor<1> {
        let logits = net.logits(batch, call);
        let rows = labels.dims()[0];
        let cross_entropy = CrossEntropyLossConfig::new().init(&labels.device());
        cross_entropy.forward(logits.reshape([rows, N::CLASSES]), labels)
    }

    /// One evaluation, or one pass.
    fn run(&self, way: Way) -> PassCount {
        self.run_by(way.method())
    }

    /// One evaluation by a method, or one pass.
    fn run_by(&self, method: Option<GammaMethod>) -> PassCount {
        let Some(method) = method else {
            let loss = Self::loss(
                &self.net,
                &self.batch,
                self.labels.clone(),
                &Call::Folded(Operations::Fused),
            );
            let _grads = GradientsParams::from_grads(loss.backward(), &self.net);
            return PassCount::new(0, 1);
        };
        let at = Fisher::new(LossKind::CrossEntropy)
            .with_method(method)
            .at(&self.net, |net| net.logits(&self.batch, &Call::Recorded))
            .expect("finite outputs");
        let mut total = PassCount::new(1, 0);
        for direction in &self.directions {
            let quality = at.quality(direction, &self.gradient);
            total += quality.expect("a direction of this model").curvature.passes;
        }
        total
    }
}

/// The passes of a setting, or one γ evaluation by a method, ready to be timed.
pub fn prepare(
    setting: Setting,
    method: Option<GammaMethod>,
    directions: usize,
    device: &Device,
) -> Box<dyn Step> {
    device.seed(1);
    let device = device.clone().autodiff();
    match setting {
        Setting::Few => Owned::<Classifier<10>>::boxed(method, directions, &device),
        Setting::Many => Owned::<Classifier<1000>>::boxed(method, directions, &device),
        Setting::Tokens => Owned::<Tokens>::boxed(method, directions, &device),
    }
}

/// Work with what is done with it.
struct Owned<N: Judged> {
    work: Work<N>,
    method: Option<GammaMethod>,
}

impl<N: Judged + 'static> Owned<N>
where
    N::Batch: 'static,
{
    fn boxed(method: Option<GammaMethod>, directions: usize, device: &Device) -> Box<dyn Step> {
        let work = Work::<N>::new(device, directions);
        Box::new(Self { work, method })
    }
}

impl<N: Judged> Step for Owned<N> {
    fn step(&mut self) {
        self.work.run_by(self.method);
        self.work.device.sync().expect("a working device");
    }
}

struct Timed<'a, N: Judged> {
    work: &'a Work<N>,
    way: Way,
}

impl<N: Judged> Step for Timed<'_, N> {
    fn step(&mut self) {
        self.work.run(self.way);
        self.work.device.sync().expect("a working device");
    }
}

fn report(rows: &[Row]) -> Table {
    let header = [
        "setting",
        "way",
        "forward",
        "and backward",
        "median ms",
        "x pass",
    ];
    let lines = rows.iter().map(|row| {
        let setting = row.setting.to_possible_value().expect("none is skipped");
        [
            setting.get_name().to_string(),
            row.way.to_string(),
            row.forward.to_string(),
            row.backward.to_string(),
            number(row.median_ms, 1),
            number(row.ratio_to_pass, 2),
        ]
    });
    table(Style::Markdown, header, &[0, 1], lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::random_state;

    #[test]
    fn the_documented_command_parses() {
        let line = "gamma --settings mlp_1000,tokens --directions 4 --json rows.json";
        let args = Args::try_parse_from(line.split(' ')).unwrap();
        assert_eq!(args.settings, [Setting::Many, Setting::Tokens]);
        assert!(Args::try_parse_from(["gamma", "--directions", "0"]).is_err());
    }

    #[test]
    fn the_automatic_way_makes_the_passes_that_the_table_counts() {
        let _random = random_state();
        let device = Device::flex().autodiff();
        device.seed(1);
        let work = Work::<Tokens>::new(&device, 1);
        let cost = work.run(Way::Auto);
        // Outputs, and three or four steps.
        assert!(
            (4..=5).contains(&cost.forward) && cost.backward == 0,
            "{cost:?}"
        );
        assert_eq!(work.run(Way::MonteCarlo(2)).backward, 2);
    }

    #[test]
    fn every_way_finds_the_same_gamma() {
        let _random = random_state();
        let device = Device::flex().autodiff();
        device.seed(1);
        let work = Work::<Tokens>::new(&device, 1);
        let value = |method| {
            let at = Fisher::new(LossKind::CrossEntropy).with_method(method);
            let at = at.at(&work.net, |net| net.logits(&work.batch, &Call::Recorded));
            let quality = at.unwrap().quality(&work.directions[0], &work.gradient);
            let quality = quality.unwrap();
            (quality.gamma(), quality.gamma_error())
        };
        let (found, error) = value(GammaMethod::Differences);
        let (drawn, standard) = value(GammaMethod::MonteCarlo { draws: 8, seed: 3 });
        assert!(error < 0.05 * found, "{found} {error}");
        assert!(
            (found - drawn).abs() < 4.0 * standard + error,
            "{found} {drawn} {standard}"
        );
    }
}
