//! The forward passes of layers with adapters, of whichever method.

use burn::nn::{Embedding, Linear};
use burn::tensor::Tensor;
use burn_ief::VocabularyHead;
use burn_ief::nn::unembed;

use crate::adapters::ForwardAdapted;
use crate::tuner::TableAsHead;

/// Implements [`ForwardAdapted`](crate::ForwardAdapted) over the methods of the table.
macro_rules! layers {
    ($($config:ty),+) => {
        impl<const D: usize> $crate::ForwardAdapted<burn::tensor::Tensor<D>> for burn::nn::Linear {
            type Output = burn::tensor::Tensor<D>;

            fn forward_adapted(&self, input: burn::tensor::Tensor<D>) -> Self::Output {
                use burn_ief::nn::ForwardRecorded;
                use $crate::tuner::ForwardLayers;

                $(let input = match <$config>::forward_linear(self, input) {
                    std::ops::ControlFlow::Break(output) => return output,
                    std::ops::ControlFlow::Continue(input) => input,
                };)+
                self.forward_recorded(input)
            }
        }

        impl $crate::ForwardAdapted<burn::tensor::Tensor<2, burn::tensor::Int>>
            for burn::nn::Embedding
        {
            type Output = burn::tensor::Tensor<3>;

            fn forward_adapted(
                &self,
                ids: burn::tensor::Tensor<2, burn::tensor::Int>,
            ) -> Self::Output {
                use burn_ief::nn::ForwardRecorded;
                use $crate::tuner::ForwardLayers;

                $(let ids = match <$config>::forward_embedding(self, ids) {
                    std::ops::ControlFlow::Break(output) => return output,
                    std::ops::ControlFlow::Continue(ids) => ids,
                };)+
                self.forward_recorded(ids)
            }
        }

        impl $crate::ForwardAdapted<burn::tensor::Tensor<4>> for burn::nn::conv::Conv2d {
            type Output = burn::tensor::Tensor<4>;

            fn forward_adapted(&self, input: burn::tensor::Tensor<4>) -> Self::Output {
                use burn_ief::nn::ForwardRecorded;
                use $crate::tuner::ForwardLayers;

                $(let input = match <$config>::forward_conv2d(self, input) {
                    std::ops::ControlFlow::Break(output) => return output,
                    std::ops::ControlFlow::Continue(input) => input,
                };)+
                self.forward_recorded(input)
            }
        }

        /// A layer with its adapters as the output head of a loss over tokens.
        fn adapted_head(layer: &burn::nn::Linear) -> burn_ief::VocabularyHead {
            use $crate::tuner::ForwardLayers;

            None$(.or_else(|| <$config>::vocabulary_head(layer)))+
                .unwrap_or_else(|| burn_ief::VocabularyHead::linear(layer))
        }

        /// What a table is as an output head, whatever it carries.
        fn tied_head(table: &burn::nn::Embedding) -> Option<$crate::tuner::TableAsHead> {
            use $crate::tuner::ForwardLayers;

            None$(.or_else(|| <$config>::tied_head(table)))+
        }
    };
}
pub(super) use layers;

/// Use an embedding table as output head with tied weights, `hidden · Wᵀ`. As in PEFT, what adapters
/// do to the look-up does not take part: the head is another module that shares the base table. What
/// adapters do to the head itself does, if the model's [`NameMap`](crate::NameMap) says that the
/// head is tied ([`with_tied_head`](crate::NameMap::with_tied_head)).
///
/// # Shapes
///
/// - hidden: `[M, …, d_model]`
/// - output: `[M, …, n_embedding]`
///
/// ```
/// use burn::nn::EmbeddingConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_peft::unembed_adapted;
///
/// let device = Device::flex().autodiff();
/// let table = EmbeddingConfig::new(10, 4).init(&device);
/// let hidden = Tensor::<3>::ones([2, 3, 4], &device);
/// assert_eq!(unembed_adapted(&table, hidden).dims(), [2, 3, 10]);
/// ```
pub fn unembed_adapted<const D: usize>(table: &Embedding, hidden: Tensor<D>) -> Tensor<D> {
    match super::tied_head(table) {
        Some(TableAsHead::Layer(head)) => head.forward_adapted(hidden),
        Some(TableAsHead::Table(weight)) => unembed(&Embedding { weight }, hidden),
        None => unembed(table, hidden),
    }
}

/// A linear layer with its adapters as the output head of
/// [`token_cross_entropy`](burn_ief::token_cross_entropy).
///
/// LoRA acts along the hidden states, and is recorded per sample. A weight with DoRA or of another method is composed: its
/// adapters train outside a recording, and a recording refuses them.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use burn_peft::{ForwardAdapted, InitLoraWeights, LoraConfig, vocabulary_head};
///
/// let device = Device::flex();
/// let layer = LinearConfig::new(8, 50).with_bias(false).init(&device);
/// let config = LoraConfig::new().with_init_lora_weights(InitLoraWeights::Random);
/// let layer = config.linear("default", layer)?;
/// let hidden = Tensor::<3>::random([2, 3, 8], Distribution::Default, &device);
/// let difference = vocabulary_head(&layer).logits(hidden.clone()) - layer.forward_adapted(hidden);
/// assert!(difference.abs().max().into_scalar::<f32>() < 1e-4);
/// # Ok::<(), burn_peft::Error>(())
/// ```
pub fn vocabulary_head(layer: &Linear) -> VocabularyHead {
    super::adapted_head(layer)
}

/// An embedding table as the output head of [`token_cross_entropy`](burn_ief::token_cross_entropy), with the
/// adapters of the head and without those of the look-up, as [`unembed_adapted`] applies it.
///
/// ```
/// use burn::nn::EmbeddingConfig;
/// use burn::tensor::Device;
/// use burn_peft::tied_vocabulary_head;
///
/// let table = EmbeddingConfig::new(50, 8).init(&Device::flex());
/// assert_eq!(tied_vocabulary_head(&table).vocabulary(), 50);
/// ```
pub fn tied_vocabulary_head(table: &Embedding) -> VocabularyHead {
    match super::tied_head(table) {
        Some(TableAsHead::Layer(head)) => vocabulary_head(&head),
        Some(TableAsHead::Table(weight)) => VocabularyHead::tied(&Embedding { weight }),
        None => VocabularyHead::tied(table),
    }
}
