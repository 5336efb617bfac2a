//! Flags of adapters of layers.

use clap::Args;

use crate::config::{AdapterOptions, BiasKind, InitKind};

/// Flags of adapters of layers.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Adapter")]
pub(super) struct AdapterFlags {
    /// Rank of LoRA, VeRA, LoHa and LoKr [default: 256 for VeRA, 8 for the others].
    #[arg(long)]
    rank: Option<usize>,
    /// LoRA's, LoHa's and LoKr's update is scaled by alpha / rank.
    #[arg(long)]
    alpha: Option<f64>,
    /// Scale LoRA's update by alpha / √rank (rsLoRA).
    #[arg(long)]
    rslora: bool,
    /// Train the lengths of the weights' columns too (DoRA).
    #[arg(long)]
    dora: bool,
    /// First values of LoRA's factors [default: kaiming].
    #[arg(long, value_enum)]
    init: Option<InitKind>,
    /// Ranks of single layers: PATTERN=RANK, where a layer's name ends with the pattern.
    #[arg(long, value_name = "PATTERN=RANK", value_delimiter = ',')]
    rank_pattern: Vec<String>,
    /// Alphas of single layers.
    #[arg(long, value_name = "PATTERN=ALPHA", value_delimiter = ',')]
    alpha_pattern: Vec<String>,
    /// Layers that are adapted, by the ends of their names, or all-linear [default: query and value (q and v in
    /// T5, q_proj and v_proj in pictures and language models); IA³: as in PEFT].
    #[arg(long, value_delimiter = ',')]
    targets: Vec<String>,
    /// Layers that are not adapted although --targets names them.
    #[arg(long, value_delimiter = ',')]
    exclude: Vec<String>,
    /// Numbers of the blocks whose layers are adapted, from 0 [default: all].
    #[arg(long, value_delimiter = ',')]
    layers: Vec<usize>,
    /// Layers whose inputs IA³ scales instead of their outputs [default: as in PEFT].
    #[arg(long, value_delimiter = ',')]
    feedforward: Vec<String>,
    /// Layers that are trained in full and saved with the adapter.
    #[arg(long, value_delimiter = ',')]
    modules_to_save: Vec<String>,
    /// Tokens, by their numbers, whose rows of the table of the input LoRA trains too.
    #[arg(long, value_delimiter = ',')]
    trainable_tokens: Vec<usize>,
    /// Biases that LoRA and VeRA train.
    #[arg(long, value_enum)]
    bias: Option<BiasKind>,
    /// Dropout before LoRA's factors and VeRA's matrices.
    #[arg(long)]
    lora_dropout: Option<f64>,
}

impl AdapterFlags {
    /// Put the flags that are given over the options.
    pub(super) fn over(&self, options: &mut AdapterOptions) {
        fn list<T: Clone>(flag: &[T], field: &mut Vec<T>) {
            if !flag.is_empty() {
                *field = flag.to_vec();
            }
        }
        options.rank = self.rank.or(options.rank);
        options.alpha = self.alpha.unwrap_or(options.alpha);
        options.rslora |= self.rslora;
        options.dora |= self.dora;
        options.init = self.init.unwrap_or(options.init);
        list(&self.rank_pattern, &mut options.rank_pattern);
        list(&self.alpha_pattern, &mut options.alpha_pattern);
        list(&self.targets, &mut options.targets);
        list(&self.exclude, &mut options.exclude);
        list(&self.layers, &mut options.layers);
        list(&self.feedforward, &mut options.feedforward);
        list(&self.modules_to_save, &mut options.modules_to_save);
        list(&self.trainable_tokens, &mut options.trainable_tokens);
        options.bias = self.bias.unwrap_or(options.bias);
        options.lora_dropout = self.lora_dropout.unwrap_or(options.lora_dropout);
    }
}
