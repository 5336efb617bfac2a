//! LoRA on a model of your own: adapt it, train with AdamW or with iEF, merge, save.

// ANCHOR: imports
use std::error::Error;

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::store::{ModuleSnapshot, SafetensorsStore};
use burn::tensor::activation::gelu;
use burn::tensor::{Device, Distribution, Int, Tensor};
use burn_ief::prelude::*;
use burn_peft::{AdapterFolder, ForwardAdapted, LoraConfig, Peft};
// ANCHOR_END: imports

const WIDTH: usize = 16;
const CLASSES: usize = 4;

// ANCHOR: model
/// The struct does not mention adapters.
#[derive(Module, Debug)]
struct Net {
    blocks: Vec<Block>,
    head: Linear,
}

#[derive(Module, Debug)]
struct Block {
    up: Linear,
    down: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        let block = |_| Block {
            up: LinearConfig::new(WIDTH, 4 * WIDTH).init(device),
            down: LinearConfig::new(4 * WIDTH, WIDTH).init(device),
        };
        Self {
            blocks: (0..2).map(block).collect(),
            head: LinearConfig::new(WIDTH, CLASSES).init(device),
        }
    }

    /// `[M, WIDTH]` to logits `[M, CLASSES]`.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.blocks.iter().fold(x, |x, block| {
            // `forward_adapted` in place of `forward`.
            let hidden = gelu(block.up.forward_adapted(x.clone()));
            x + block.down.forward_adapted(hidden)
        });
        self.head.forward_adapted(x)
    }
}
// ANCHOR_END: model

/// Points around one centre for each class.
struct Data {
    x: Tensor<2>,
    y: Tensor<1, Int>,
}

impl Data {
    fn new(device: &Device) -> Self {
        let samples = 16 * CLASSES;
        let normal = |deviation| Distribution::Normal(0.0, deviation);
        let centres = Tensor::<2>::random([CLASSES, WIDTH], normal(1.0), device);
        let y = Tensor::arange(0..samples as i64, device).remainder_scalar(CLASSES as i64);
        let noise = Tensor::<2>::random([samples, WIDTH], normal(1.5), device);
        Self {
            x: centres.select(0, y.clone()) + noise,
            y,
        }
    }

    /// The same classes with the order of the inputs reversed: the task to adapt to.
    fn mirrored(&self) -> Self {
        Self {
            x: self.x.clone().flip([1]),
            y: self.y.clone(),
        }
    }

    fn loss(&self, logits: Tensor<2>) -> Tensor<1> {
        let loss = CrossEntropyLossConfig::new().init(&logits.device());
        loss.forward(logits, self.y.clone())
    }

    fn loss_of(&self, net: &Net) -> f32 {
        self.loss(net.forward(self.x.clone())).into_scalar()
    }
}

// ANCHOR: adamw
/// A loop like any other in Burn.
fn with_adamw(mut net: Net, data: &Data, steps: usize) -> Net {
    let mut optim = AdamWConfig::new().init();
    for _ in 0..steps {
        let loss = data.loss(net.forward(data.x.clone()));
        let grads = GradientsParams::from_grads(loss.backward(), &net);
        net = optim.step(1e-2, net, grads);
    }
    net
}
// ANCHOR_END: adamw

// ANCHOR: ief
/// The same, along the natural gradient of what trains.
fn with_ief(mut net: Net, data: &Data, steps: usize) -> Result<Net, burn_ief::Error> {
    // Every step has the same batch: there are no other batches whose updates to remember.
    let solve = SolveOptions::new().with_momentum(Some(0.0));
    let mut optim = IefConfig::new().with_solve(solve).init(&net);
    for _ in 0..steps {
        net = optim.step_closure(1.0, net, |net| {
            let logits = mark_output(net.forward(data.x.clone()));
            data.loss(logits)
        })?;
    }
    Ok(net)
}
// ANCHOR_END: ief

fn main() -> Result<(), Box<dyn Error>> {
    let device = Device::flex().autodiff();
    device.seed(1);
    let first_task = Data::new(&device);
    let base = with_adamw(Net::new(&device), &first_task, 30);
    let task = first_task.mirrored();
    println!("base, its own task   loss {:.4}", first_task.loss_of(&base));
    println!("base, the new task   loss {:.4}", task.loss_of(&base));

    // ANCHOR: adapt
    let settings = LoraConfig::new()
        .with_r(4)
        .with_lora_alpha(8.0)
        .with_target_modules(["up", "down"])
        .with_modules_to_save(["head"]);
    // Without a `NameMap`, names in files are the paths of the fields: `blocks.0.up`.
    let net = base.clone().adapt("default", &settings, &[])?;
    println!("{}", net.trainable());
    // ANCHOR_END: adapt

    let adamw = with_adamw(net.clone(), &task, 20);
    println!("AdamW, 20 steps      loss {:.4}", task.loss_of(&adamw));
    let net = with_ief(net, &task, 20)?;
    println!("iEF, 20 steps        loss {:.4}", task.loss_of(&net));

    // ANCHOR: save
    let parent = tempfile::tempdir()?;
    let folder = parent.path().join("adapter");
    net.save_adapter("default", &settings, &[])?
        .write(&folder)?;

    let read = AdapterFolder::read(&folder)?;
    let loaded = base.load_adapter("default", &read, &[])?;
    println!("from its folder      loss {:.4}", task.loss_of(&loaded));
    // ANCHOR_END: save

    // ANCHOR: merge
    let merged = net.merge_and_unload()?;
    println!("merged               loss {:.4}", task.loss_of(&merged));

    // A plain model, saved as one.
    let file = parent.path().join("model.safetensors");
    merged.save_into(&mut SafetensorsStore::from_file(&file))?;
    let mut plain = Net::new(&device);
    plain.load_from(&mut SafetensorsStore::from_file(&file))?;
    println!("from its file        loss {:.4}", task.loss_of(&plain));
    // ANCHOR_END: merge
    Ok(())
}
