//! The command line of `replay`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use burn_ief::exchange::{Exchange, ExchangeForm};
use clap::{Args, Parser, Subcommand, ValueEnum};
use programs::command::end;
use programs::files::{check_output, check_output_folder};
use replay::{
    AdapterCase, Case, DeviceKind, Error, Head, Inputs, Location, Place, Precision, Selection,
    SftCase, Shards, Task, adapter, golden, roundtrip, sft,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Recompute reference cases through the public API of burn-ief and burn-peft.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Per-sample gradients and EF, iEF and SF updates of a small network.
    Golden(GoldenArgs),
    /// Outputs of a Hugging Face model with a PEFT adapter.
    Adapter(AdapterArgs),
    /// Losses, per-sample gradients and updates of supervised fine-tuning with an adapter.
    Sft(SftArgs),
    /// Load an adapter into its model and save it again.
    Roundtrip(RoundtripArgs),
}

#[derive(Args)]
struct Folders {
    /// Folder of the model: config.json and model.safetensors.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Folder of the adapter: adapter_config.json and adapter_model.safetensors.
    #[arg(long, value_name = "DIR")]
    adapter: PathBuf,
    /// What the model is used for; `auto` takes it from the adapter, then from the model folder, and
    /// stops if they contradict each other.
    #[arg(long, value_enum, default_value_t)]
    task: TaskChoice,
}

impl Folders {
    fn case(&self) -> AdapterCase {
        AdapterCase::new(&self.model, &self.adapter).with_task(self.task.task())
    }
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
#[value(rename_all = "snake_case")]
enum TaskChoice {
    #[default]
    Auto,
    Base,
    SequenceClassification,
    TokenClassification,
    ImageClassification,
    Seq2seq,
    CausalLm,
}

impl TaskChoice {
    fn task(self) -> Option<Task> {
        match self {
            Self::Auto => None,
            Self::Base => Some(Task::Base),
            Self::SequenceClassification => Some(Task::SequenceClassification),
            Self::TokenClassification => Some(Task::TokenClassification),
            Self::ImageClassification => Some(Task::ImageClassification),
            Self::Seq2seq => Some(Task::Seq2Seq),
            Self::CausalLm => Some(Task::CausalLm),
        }
    }
}

#[derive(Args)]
struct AdapterArgs {
    #[command(flatten)]
    folders: Folders,
    /// The inputs, `input.<argument>` each (other tensors in it are not read).
    #[arg(long, value_name = "FILE")]
    inputs: PathBuf,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Merge the adapter into the weights first.
    #[arg(long)]
    merged: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Args)]
struct SftArgs {
    /// Folder of the causal language model: config.json and model.safetensors.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Folder of the adapter: adapter_config.json and adapter_model.safetensors.
    #[arg(long, value_name = "DIR")]
    adapter: PathBuf,
    /// The batch: `input.*`, `labels` and `labels_sampled` (expected results in it are not read).
    #[arg(long, value_name = "FILE")]
    case: PathBuf,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Form all logits, or the loss in slices of the answer tokens.
    #[arg(long, value_enum, default_value_t)]
    head: HeadChoice,
    /// Answer tokens in a slice, with `--head chunked`.
    #[arg(long, value_name = "N")]
    chunk: Option<usize>,
    #[command(flatten)]
    shards: ShardArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum HeadChoice {
    #[default]
    Plain,
    Chunked,
}

impl SftArgs {
    fn head(&self) -> Result<Head, Error> {
        let refuse = |problem: &str| {
            Err(Error::Arguments {
                problem: format!("--chunk: {problem}"),
            })
        };
        match (self.head, self.chunk) {
            (_, Some(0)) => refuse("expected at least 1, found 0"),
            (HeadChoice::Plain, Some(_)) => refuse("needs --head chunked"),
            (HeadChoice::Plain, None) => Ok(Head::Plain),
            (HeadChoice::Chunked, chunk) => Ok(Head::Chunked(chunk)),
        }
    }
}

#[derive(Args)]
struct RoundtripArgs {
    #[command(flatten)]
    folders: Folders,
    /// The folder to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Args)]
struct GoldenArgs {
    /// The case: inputs, labels and parameters (expected results in it are not read).
    case: PathBuf,
    /// The file to write, under the names and in the layouts of the case.
    #[arg(long)]
    out: PathBuf,
    /// Compute only results whose names start with one of these, separated by commas.
    #[arg(long, value_name = "PREFIX[,PREFIX]")]
    only: Option<String>,
    #[command(flatten)]
    shards: ShardArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Args)]
struct ShardArgs {
    /// Measure shards of these sizes, separated by commas, each on its own, and join them; the sizes
    /// sum to the number of samples.
    #[arg(long, value_name = "SIZE[,SIZE]")]
    shards: Option<String>,
    /// Measure the shards on these devices in turn, and everything else on the first: devices of this
    /// machine, such as flex,ndarray, and workers at ws://HOST:PORT (feature remote; token in
    /// BURN_WORKER_TOKEN) [default: that of --device].
    #[arg(
        long,
        value_name = "DEVICE[,DEVICE]",
        value_delimiter = ',',
        requires = "shards",
        conflicts_with = "device"
    )]
    devices: Vec<Location>,
    /// Which rows go to which device: gather, layers, or auto.
    #[arg(long, default_value_t, requires = "devices")]
    exchange: ExchangeForm,
}

impl ShardArgs {
    /// The shards, before their devices are opened.
    fn read(&self) -> Result<Shards, Error> {
        let sizes = self.shards.as_deref();
        sizes.map_or_else(|| Ok(Shards::default()), Shards::parse)
    }

    /// Open all devices: the shards at their places, and the place of everything else.
    fn open(&self, shards: Shards, place: &PlaceArgs) -> Result<(Shards, Place), Error> {
        let places = self.devices.iter();
        let places = places.map(|location| Place::open_at(location, place.dtype));
        let places: Vec<Place> = places.collect::<Result<_, _>>()?;
        let home = match places.first() {
            Some(first) => first.clone(),
            None => Place::open(place.device, place.dtype)?,
        };
        let exchange = Exchange::new().with_form(self.exchange);
        Ok((shards.at(places).with_exchange(exchange), home))
    }
}

#[derive(Args)]
struct PlaceArgs {
    /// Float type of parameters, inputs and gradients.
    #[arg(long, value_enum, default_value_t)]
    dtype: Precision,
    /// Device; others than flex need the feature of the same name.
    #[arg(long, value_enum, default_value_t)]
    device: DeviceKind,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.command {
        Command::Golden(args) => run(args),
        Command::Adapter(args) => run_adapter(args),
        Command::Sft(args) => run_sft(args),
        Command::Roundtrip(args) => run_roundtrip(args),
    };
    end(outcome, 2)
}

fn run(args: &GoldenArgs) -> Result<(), Error> {
    let selection = match &args.only {
        Some(prefixes) => Selection::parse(prefixes)?,
        None => Selection::all(),
    };
    let shards = args.shards.read()?;
    let case = Case::read(&args.case)?;
    check_out(&args.case, &[], &args.out)?;
    selection.check(&case)?;
    shards.check(&case)?;
    let (shards, place) = args.shards.open(shards, &args.place)?;
    golden(&case, &place, selection, &shards)?.write(&case, &args.out)
}

fn run_adapter(args: &AdapterArgs) -> Result<(), Error> {
    let inputs = Inputs::read(&args.inputs)?;
    let folders = [&*args.folders.model, &*args.folders.adapter];
    check_out(&args.inputs, &folders, &args.out)?;
    let place = Place::open(args.place.device, args.place.dtype)?;
    let outputs = adapter(&args.folders.case(), &inputs, args.merged, &place)?;
    replay::write(&outputs, Default::default(), &args.out)
}

fn run_sft(args: &SftArgs) -> Result<(), Error> {
    let head = args.head()?;
    let shards = args.shards.read()?;
    let batch = SftCase::read(&args.case)?;
    let folders = [&*args.model, &*args.adapter];
    check_out(&args.case, &folders, &args.out)?;
    shards.ranges(batch.samples())?;
    let (shards, place) = args.shards.open(shards, &args.place)?;
    let case = AdapterCase::new(&args.model, &args.adapter);
    let results = sft(&case, &batch, head, &shards, &place)?;
    replay::write(&results, Default::default(), &args.out)
}

fn run_roundtrip(args: &RoundtripArgs) -> Result<(), Error> {
    check_output_folder(&args.out)?;
    // f64 holds every value of the narrower types.
    let place = Place::open(DeviceKind::Flex, Precision::F64)?;
    Ok(roundtrip(&args.folders.case(), &place)?.write(&args.out)?)
}

/// Whether a file of a model or adapter folder is read, by its name.
fn is_of_folder(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let whole = [
        "config.json",
        "model.safetensors",
        "model.safetensors.index.json",
        "adapter_config.json",
        "adapter_model.safetensors",
    ];
    whole.contains(&&*name) || (name.starts_with("model-") && name.ends_with(".safetensors"))
}

/// Find out before computing whether the results can be written, and not in the place of what is read: a file, or
/// one in a folder of a model or an adapter.
fn check_out(read: &Path, folders: &[&Path], out: &Path) -> Result<(), Error> {
    check_output(out)?;
    // A name that is free replaces nothing.
    let Ok(place) = out.canonicalize() else {
        return Ok(());
    };
    let is_read = read.canonicalize().is_ok_and(|read| read == place)
        || folders.iter().any(|folder| {
            let folder = folder.canonicalize().ok();
            folder.is_some() && folder.as_deref() == place.parent() && is_of_folder(&place)
        });
    if is_read {
        Err(Error::SameFile { path: out.into() })
    } else {
        Ok(())
    }
}
