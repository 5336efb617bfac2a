//! Soft prompts: begin, record, go through folders.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{DType, Device, Distribution, Tensor};
use burn_ief::Tape;
use burn_ief::jacobian::Jacobian;
use burn_ief::nn::ForwardRecorded;
use burn_peft::p_tuning::EncoderType;
use burn_peft::settings::TaskType;
use burn_peft::{
    AdapterFolder, Error, LoraConfig, PTuningConfig, PeftConfig, PromptConfig, SoftPrompt,
};

fn settings() -> PromptConfig {
    PromptConfig::new(4).with_token_dim(3)
}

fn rows(prompt: &SoftPrompt) -> Vec<f32> {
    prompt.embeddings.val().into_data().iter().collect()
}

/// Rows `[i, i, i]`.
fn table(device: &Device) -> Tensor<2> {
    let ids = Tensor::<1, burn::tensor::Int>::arange(0..6, device).float();
    ids.unsqueeze_dim::<2>(1).expand([6, 3])
}

#[test]
fn vocabulary_rows_are_drawn_once_each() {
    let device = Device::flex().autodiff();
    device.seed(1);
    let prompt = SoftPrompt::from_vocabulary(&settings(), table(&device), &device).unwrap();
    let mut first: Vec<f32> = rows(&prompt).chunks(3).map(|row| row[0]).collect();
    first.sort_by(f32::total_cmp);
    first.dedup();
    assert_eq!(first.len(), 4);
    assert!(prompt.embeddings.is_require_grad());
}

#[test]
fn random_tokens_are_standard_normal() {
    let device = Device::flex().autodiff();
    device.seed(4);
    let settings = PromptConfig::new(100).with_token_dim(100);
    let values = rows(&SoftPrompt::random(&settings, &device).unwrap());
    let mean = |values: &mut dyn Iterator<Item = f32>| values.sum::<f32>() / 1e4;
    assert!(mean(&mut values.iter().copied()).abs() < 0.05);
    assert!((mean(&mut values.iter().map(|x| x * x)) - 1.0).abs() < 0.06);
}

#[test]
fn tables_of_half_precision_give_trainable_tokens_of_full() {
    let device = Device::flex().autodiff();
    let half = table(&device).cast(DType::F16);
    let prompt = SoftPrompt::from_text(&settings(), half, &[5, 2], &device).unwrap();
    assert_eq!(prompt.embeddings.val().dtype(), DType::F32);
    assert_eq!(rows(&prompt)[..6], [5.0, 5.0, 5.0, 2.0, 2.0, 2.0]);
    assert!(prompt.embeddings.is_require_grad());
}

#[test]
fn texts_are_repeated_or_cut() {
    let device = Device::flex().autodiff();
    let begin = |ids: &[usize]| {
        let prompt = SoftPrompt::from_text(&settings(), table(&device), ids, &device);
        rows(&prompt.unwrap())
            .chunks(3)
            .map(|row| row[0])
            .collect::<Vec<_>>()
    };
    assert_eq!(begin(&[5, 2, 1]), [5.0, 2.0, 1.0, 5.0]);
    assert_eq!(begin(&[5, 2, 1, 0, 3]), [5.0, 2.0, 1.0, 0.0]);

    // The text runs on into the rows of a second submodule.
    let two = settings().with_num_transformer_submodules(2);
    let prompt = SoftPrompt::from_text(&two, table(&device), &[5, 2, 1], &device).unwrap();
    assert_eq!(rows(&prompt)[9..], [5.0; 3]);
    let rest: Vec<f32> = prompt.rest.unwrap().val().into_data().iter().collect();
    assert_eq!(rest[..6], [2.0, 2.0, 2.0, 1.0, 1.0, 1.0]);
}

#[test]
fn a_second_submodule_keeps_its_rows_and_does_not_train() {
    let device = Device::flex().autodiff();
    device.seed(2);
    let settings = settings().with_task_type(TaskType::Seq2SeqLm);
    let prompt = SoftPrompt::random(&settings, &device).unwrap();
    assert_eq!(prompt.forward(2).dims(), [2, 4, 3]);
    let rest = prompt.rest.as_ref().unwrap();
    assert_eq!(rest.val().dims(), [4, 3]);
    assert!(!rest.is_require_grad());
    let folder = prompt.to_folder(&settings).unwrap();
    let table = &folder.tensors["prompt_embeddings"];
    assert_eq!(table.shape().as_slice(), [8, 3]);
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("prompt");
    folder.write(&path).unwrap();
    let read = AdapterFolder::read(&path).unwrap();
    let again = SoftPrompt::from_folder(&read, &device).unwrap();
    assert_eq!(rows(&again), rows(&prompt));
    assert_eq!(again.update_folder(&read).unwrap(), read);
}

#[derive(Module, Debug)]
struct Net {
    prompt: SoftPrompt,
    head: Linear,
}

impl Net {
    fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let [batch, _, _] = x.dims();
        let x = Tensor::cat(vec![self.prompt.forward(batch), x], 1);
        let x = self.head.forward_recorded(x).tanh();
        x.mean_dim(1).squeeze_dim(1)
    }
}

#[test]
fn its_use_is_recorded_per_sample() {
    let device = Device::flex().autodiff();
    device.seed(3);
    let net = Net {
        prompt: SoftPrompt::random(&settings(), &device).unwrap(),
        head: LinearConfig::new(3, 2).init(&device).no_grad(),
    };
    let x = Tensor::<3>::random([5, 2, 3], Distribution::Normal(0.0, 1.0), &device);
    let tape = Tape::start();
    let loss = (net.forward(x.clone()) * net.forward(x.clone())).sum_dim(1);
    let grads = loss.mean().backward();
    let jacobian = Jacobian::from_tape(tape, grads, &net).unwrap();
    let oracle = Jacobian::by_sample(&net, 5, |net, n| {
        let y = net.forward(x.clone().narrow(0, n, 1));
        (y.clone() * y).sum()
    })
    .unwrap();
    assert_eq!(jacobian.columns(), 4 * 3);
    for (row, expected) in jacobian.to_dense().iter().zip(oracle.to_dense()) {
        for (a, b) in row.iter().zip(expected) {
            assert!((a - b).abs() < 1e-6);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let device = Device::flex().autodiff();
    let field = |result: Result<SoftPrompt, Error>| match result.unwrap_err() {
        Error::Config { field, .. } => field,
        other => panic!("{other}"),
    };
    let narrow = PromptConfig::new(4).with_token_dim(2);
    let many = PromptConfig::new(7).with_token_dim(3);
    let no_width = PromptConfig::new(4);
    let from_text = |settings: &PromptConfig, ids: &[usize]| {
        field(SoftPrompt::from_text(
            settings,
            table(&device),
            ids,
            &device,
        ))
    };
    assert_eq!(from_text(&narrow, &[1]), "token_dim");
    assert_eq!(from_text(&settings(), &[]), "prompt_tuning_init_text");
    assert_eq!(from_text(&settings(), &[6]), "prompt_tuning_init_text");
    assert_eq!(field(SoftPrompt::random(&no_width, &device)), "token_dim");
    let drawn = SoftPrompt::from_vocabulary(&many, table(&device), &device);
    assert_eq!(field(drawn), "num_virtual_tokens");
    let none = PromptConfig::new(0).with_token_dim(3);
    assert_eq!(
        field(SoftPrompt::random(&none, &device)),
        "num_virtual_tokens"
    );

    let prompt = SoftPrompt::random(&settings(), &device).unwrap();
    assert!(matches!(prompt.to_folder(&many), Err(Error::Shape { .. })));
    let lora = AdapterFolder::new(LoraConfig::new(), []);
    assert!(SoftPrompt::from_folder(&lora, &device).is_err());
}

fn encoded() -> PTuningConfig {
    PTuningConfig::new(2)
        .with_token_dim(3)
        .with_encoder_hidden_size(5)
        .with_task_type(TaskType::Seq2SeqLm)
}

#[test]
fn a_network_makes_the_tokens_and_trains_with_the_table() {
    let device = Device::flex().autodiff();
    device.seed(5);
    let prompt = SoftPrompt::encoded(&encoded(), &device).unwrap();
    let net = Net {
        prompt,
        head: LinearConfig::new(3, 2).init(&device).no_grad(),
    };
    let x = Tensor::<3>::random([4, 2, 3], Distribution::Normal(0.0, 1.0), &device);
    let tape = Tape::start();
    let loss = net.forward(x.clone()).square().sum_dim(1).mean();
    let jacobian = Jacobian::from_tape(tape, loss.backward(), &net).unwrap();
    assert_eq!(
        jacobian.columns(),
        2 * 3 + (3 + 1) * 5 + (5 + 1) * 5 + (5 + 1) * 3
    );
    let oracle = Jacobian::by_sample(&net, 4, |net, n| {
        net.forward(x.clone().narrow(0, n, 1)).square().sum()
    })
    .unwrap();
    for (row, expected) in jacobian.to_dense().iter().zip(oracle.to_dense()) {
        for (a, b) in row.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
    // The folder has the tokens of both parts of an encoder-decoder, and gives a prompt without the network.
    let folder = net.prompt.to_folder(encoded()).unwrap();
    assert_eq!(folder.tensors["prompt_embeddings"].shape().to_vec(), [4, 3]);
    let (config, weights) = folder.to_bytes().unwrap();
    let read = AdapterFolder::parse(config.as_bytes(), &weights).unwrap();
    assert_eq!(read, folder);
    let plain = SoftPrompt::from_folder(&read, &device).unwrap();
    assert!(plain.encoder.is_none());
    let difference = (plain.forward(3) - net.prompt.forward(3)).abs().max();
    assert!(difference.into_scalar::<f32>() < 1e-6);
    assert_eq!(plain.update_folder(&folder).unwrap(), folder);
}

#[test]
fn what_p_tuning_cannot_do_is_named() {
    let device = Device::flex().autodiff();
    let lstm = encoded().with_encoder(EncoderType::Lstm);
    let Err(Error::Unsupported { field, value }) = SoftPrompt::encoded(&lstm, &device) else {
        panic!("it was made");
    };
    assert_eq!(
        (field, value.as_str()),
        ("encoder_reparameterization_type", "\"LSTM\"")
    );
    let error = SoftPrompt::encoded(&PTuningConfig::new(2), &device).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Config {
                field: "token_dim",
                ..
            }
        ),
        "{error}"
    );
    for (name, value) in [
        ("num_virtual_tokens", "0"),
        ("encoder_hidden_size", "0"),
        ("encoder_num_layers", "0"),
        ("encoder_dropout", "1"),
        ("encoder_reparameterization_type", "\"GRU\""),
        ("token_dim", "-1"),
    ] {
        let text =
            format!(r#"{{"peft_type": "P_TUNING", "num_virtual_tokens": 1, "{name}": {value}}}"#);
        let text = text.replace(r#""num_virtual_tokens": 1, "num_"#, r#""num_"#);
        let Err(Error::Config { field, .. }) = PeftConfig::parse(text.as_bytes()) else {
            panic!("{text} was accepted");
        };
        assert_eq!(field, name);
    }
}
