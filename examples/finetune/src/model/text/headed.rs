//! Classes of `transformers` that are encoders with a head.

use burn::module::{Module, ModuleDisplay};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use burn_hf_models::Error;
use burn_hf_models::bert::{BertForSequenceClassification, BertForTokenClassification, BertInput};
use burn_hf_models::distilbert::{
    DistilBertForSequenceClassification, DistilBertForTokenClassification,
};
use burn_hf_models::modernbert::{
    ModernBertForSequenceClassification, ModernBertForTokenClassification,
};
use burn_hf_models::roberta::{RobertaForSequenceClassification, RobertaForTokenClassification};
use burn_hf_models::weights::LoadOptions;
use burn_peft::NameMap;

use super::super::head;

/// A class of `transformers`: an encoder with a head, which is new.
pub(super) trait Headed: Module + ModuleDisplay {
    /// Its name.
    const CLASS: &'static str;
    /// Modules that are trained in full: the head, and what makes its vector.
    const SAVED: &'static [&'static str];
    /// The last layer.
    const HEAD: &'static str;

    fn namings() -> Vec<NameMap>;

    /// Options for a pretrained folder, which may have another head or none.
    fn options() -> LoadOptions;

    /// Logits `[M, P, C]`: P is 1 for a head on the whole text, or the number of tokens.
    fn outputs(&self, input: BertInput) -> Result<Tensor<3>, Error>;

    /// Change the last layer.
    fn map_head(self, change: impl FnOnce(Linear) -> Linear) -> Self;

    /// Draw the values of all new layers, the last one as heads have it here. Burn draws the values of a parameter when it
    /// is first used: drawn here, they do not depend on how many draws adapters make before.
    fn with_new_head(self, width: usize, outputs: usize, device: &Device) -> Self;
}

/// Options under which a folder's own head is not read, nor missed.
fn without_head(options: LoadOptions) -> LoadOptions {
    let options = [
        "classifier",
        "pre_classifier",
        "head",
        "qa_outputs",
        "score",
    ]
    .into_iter()
    .fold(options, LoadOptions::skip);
    options.replace("classifier")
}

macro_rules! headed {
    ($($class:ident, $saved:expr, $head:literal, $shape:ident,
       |$model:ident| $drawn:expr, [$($field:ident).+], [$($initial:literal),*];)*) => {
        $(impl Headed for $class {
            const CLASS: &'static str = stringify!($class);
            const SAVED: &'static [&'static str] = &$saved;
            const HEAD: &'static str = $head;

            fn namings() -> Vec<NameMap> {
                Self::names()
            }

            fn options() -> LoadOptions {
                let options = without_head(Self::load_options());
                $(let options = options.keep_initial($initial);)*
                options
            }

            fn outputs(&self, input: BertInput) -> Result<Tensor<3>, Error> {
                let logits = self.forward(input)?.logits;
                Ok($shape(logits))
            }

            fn map_head(mut self, change: impl FnOnce(Linear) -> Linear) -> Self {
                self.$($field).+ = change(self.$($field).+);
                self
            }

            fn with_new_head(self, width: usize, outputs: usize, device: &Device) -> Self {
                let draw = |$model: &Self| $drawn;
                draw(&self);
                self.map_head(|_| head::new(width, outputs, device))
            }
        })*
    };
}

fn of_text(logits: Tensor<2>) -> Tensor<3> {
    logits.unsqueeze_dim(1)
}

fn of_tokens(logits: Tensor<3>) -> Tensor<3> {
    logits
}

fn draw(layer: &Linear) {
    layer.weight.val();
}

headed!(
    BertForSequenceClassification, ["classifier", "pooler"], "classifier", of_text,
    |model| model.bert.pooler.iter().for_each(|pooler| draw(&pooler.dense)), [classifier], [];

    BertForTokenClassification, ["classifier"], "classifier", of_tokens,
    |_model| (), [classifier], [];

    RobertaForSequenceClassification, ["classifier"], "classifier.out_proj", of_text,
    |model| draw(&model.classifier.dense), [classifier.out_proj], [];

    RobertaForTokenClassification, ["classifier"], "classifier", of_tokens,
    |_model| (), [classifier], [];

    DistilBertForSequenceClassification, ["pre_classifier", "classifier"], "classifier", of_text,
    |model| draw(&model.pre_classifier), [classifier], ["pre_classifier"];

    DistilBertForTokenClassification, ["classifier"], "classifier", of_tokens,
    |_model| (), [classifier], [];

    ModernBertForSequenceClassification, ["head", "classifier"], "classifier", of_text,
    |model| draw(&model.head.dense), [classifier], ["head"];

    ModernBertForTokenClassification, ["head", "classifier"], "classifier", of_tokens,
    |model| draw(&model.head.dense), [classifier], ["head"];
);
