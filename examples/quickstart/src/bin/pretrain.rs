//! Pretrain the quickstart's vision transformer on the digits 0 to 4.

use std::path::PathBuf;
use std::process::ExitCode;

use burn::module::Module;
use burn::optim::AdamWConfig;
use clap::Parser;
use programs::command_line::parse;
use programs::files::check_output;
use programs::{DeviceKind, out_line};
use quickstart::Error;
use quickstart::data::Split;
use quickstart::fit::{Plan, fit};
use quickstart::vit::{PRETRAINED_CLASSES, VitConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Pretrain the quickstart's vision transformer on the digits 0 to 4 and write it as a Burn record.
///
/// It learns from the training images and their copies moved by one pixel, with AdamW; the default
/// values made the committed record.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    device: DeviceKind,
    /// Seed of parameters and order.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Passes over the training images and their moved copies.
    #[arg(long, default_value_t = 12)]
    epochs: usize,
    /// The record to write.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "examples/quickstart/data/vit.bpk"
    )]
    out: PathBuf,
}

fn main() -> ExitCode {
    programs::command::end(start(&parse()), 1)
}

fn start(args: &Args) -> Result<(), Error> {
    check_output(&args.out)?;
    let split = Split::load()?.below(PRETRAINED_CLASSES).with_moved_copies();
    let device = args.device.open()?;
    device.seed(args.seed);
    let vit = VitConfig::new(PRETRAINED_CLASSES).init(&device);
    let plan = Plan {
        label: "pretraining".into(),
        epochs: args.epochs,
        seed: args.seed,
        step_size: 2e-3,
    };
    let optim = AdamWConfig::new().with_weight_decay(0.05).init().into();
    let (vit, history) = fit(vit, optim, &split, &plan, &device)?;
    vit.save_file(&args.out)?;
    out_line!(
        "{} images, {} epochs: training loss {:.4}, test accuracy {:.1} %; written to {}",
        split.train.len(),
        args.epochs,
        history.final_train_loss(args.epochs),
        100.0 * history.test_accuracy(),
        args.out.display()
    );
    Ok(())
}
