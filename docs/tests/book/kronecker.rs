//! The column for the K-FAC family in the table of layers is what its state holds for each layer.

use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::activation::{PReluConfig, SwiGluConfig};
use burn::nn::attention::{CrossAttentionConfig, MultiHeadAttentionConfig};
use burn::nn::conv::{
    Conv1dConfig, Conv2dConfig, Conv3dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig,
    ConvTranspose3dConfig, DeformConv2dConfig,
};
use burn::nn::gru::{BiGruConfig, GruConfig};
use burn::nn::transformer::{
    PositionWiseFeedForwardConfig, TransformerDecoderConfig, TransformerDecoderLayer,
    TransformerEncoderConfig, TransformerEncoderLayer,
};
use burn::nn::{
    BatchNormConfig, BiLstmConfig, BiRnnConfig, EmbeddingConfig, GroupNormConfig,
    InstanceNormConfig, LayerNormConfig, LinearConfig, LstmConfig, RmsNormConfig, RnnConfig,
};
use burn::tensor::{Device, Tensor};
use burn_ief::prelude::*;

use super::markdown::{read, root, rows};

/// Whether the state of the K-FAC family has inverses for a parameter of this module.
fn has_factors(module: impl Module) -> bool {
    #[derive(Default)]
    struct Inverses {
        names: Vec<String>,
        found: bool,
    }
    impl ModuleVisitor for Inverses {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.names.push(name.to_string());
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.names.pop();
        }

        fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
            self.found |= self.names.iter().any(|name| name == "inverses");
        }
    }
    let mut inverses = Inverses::default();
    IekfacConfig::new()
        .init(&module)
        .state()
        .visit(&mut inverses);
    inverses.found
}

/// The same for a layer without groups.
fn layer_has_factors(layer: &str) -> bool {
    let d = &Device::flex().autodiff();
    match layer {
        "BatchNorm" => has_factors(BatchNormConfig::new(2).init(d)),
        "BiGru" => has_factors(BiGruConfig::new(2, 3, true).init(d)),
        "BiLstm" => has_factors(BiLstmConfig::new(2, 3, true).init(d)),
        "BiRnn" => has_factors(BiRnnConfig::new(2, 3, true).init(d)),
        "Conv1d" => has_factors(Conv1dConfig::new(2, 3, 2).init(d)),
        "Conv2d" => has_factors(Conv2dConfig::new([2, 3], [2, 2]).init(d)),
        "Conv3d" => has_factors(Conv3dConfig::new([2, 3], [2, 2, 2]).init(d)),
        "ConvTranspose1d" => has_factors(ConvTranspose1dConfig::new([2, 3], 2).init(d)),
        "ConvTranspose2d" => has_factors(ConvTranspose2dConfig::new([2, 3], [2, 2]).init(d)),
        "ConvTranspose3d" => has_factors(ConvTranspose3dConfig::new([2, 3], [2; 3]).init(d)),
        "CrossAttention" => has_factors(CrossAttentionConfig::new(4, 4, 2, 2, 2).init(d)),
        "DeformConv2d" => has_factors(DeformConv2dConfig::new([2, 3], [2, 2]).init(d)),
        "Embedding" => has_factors(EmbeddingConfig::new(3, 2).init(d)),
        "GroupNorm" => has_factors(GroupNormConfig::new(2, 4).init(d)),
        "Gru" => has_factors(GruConfig::new(2, 3, true).init(d)),
        "InstanceNorm" => has_factors(InstanceNormConfig::new(2).init(d)),
        "LayerNorm" => has_factors(LayerNormConfig::new(2).init(d)),
        "Linear" => has_factors(LinearConfig::new(2, 3).init(d)),
        "Lstm" => has_factors(LstmConfig::new(2, 3, true).init(d)),
        "MultiHeadAttention" => has_factors(MultiHeadAttentionConfig::new(4, 2).init(d)),
        "PRelu" => has_factors(PReluConfig::new().init(d)),
        "PositionWiseFeedForward" => has_factors(PositionWiseFeedForwardConfig::new(2, 3).init(d)),
        "RmsNorm" => has_factors(RmsNormConfig::new(2).init(d)),
        "Rnn" => has_factors(RnnConfig::new(2, 3, true).init(d)),
        "TransformerDecoder" => has_factors(TransformerDecoderConfig::new(4, 4, 2, 1).init(d)),
        "TransformerEncoder" => has_factors(TransformerEncoderConfig::new(4, 4, 2, 1).init(d)),
        "TransformerDecoderLayer" => {
            let config = TransformerDecoderConfig::new(4, 4, 2, 1);
            has_factors(TransformerDecoderLayer::new(&config, d))
        }
        "TransformerEncoderLayer" => {
            let config = TransformerEncoderConfig::new(4, 4, 2, 1);
            has_factors(TransformerEncoderLayer::new(&config, d))
        }
        "SwiGlu" => has_factors(SwiGluConfig::new(2, 3).init(d)),
        _ => panic!("this test does not know how to make a `{layer}`"),
    }
}

#[test]
fn layers_with_kronecker_factors_are_those_of_the_table() {
    let page = read(&root().join("docs/src/layers.md"));
    let mut compared = 0;
    for row in rows(&page, "Recorded layers") {
        let [layer, .., factors] = row.as_slice() else {
            panic!("a row without columns: {row:?}");
        };
        // Layers that are made of others, and those without parameters.
        if factors.is_empty() || factors.starts_with("as ") {
            continue;
        }
        let expected = layer_has_factors(layer);
        let named = factors.starts_with("Kronecker factors");
        assert!(
            named || factors.starts_with("diagonal"),
            "{layer}: {factors}"
        );
        assert_eq!(named, expected, "{layer}: the table says `{factors}`");
        compared += 1;
    }
    assert!(compared >= 18, "compared only {compared} layers");
}
