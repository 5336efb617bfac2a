//! Generation of T5: the cache changes nothing, and rows do not see each other.

use crate::golden;

use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_hf_models::Error;
use burn_hf_models::generate::{Decoding, Sampling};
use burn_hf_models::t5::{T5ForConditionalGeneration, T5Input, T5Source};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use golden::{Folder, MODELS};

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(11)
}

fn source(input: T5Input) -> T5Source {
    T5Source {
        input_ids: input.input_ids,
        attention_mask: input.attention_mask,
        prompt: input.prompt,
    }
}

/// The whole decoder again for every token.
fn without_cache(
    t5: &T5ForConditionalGeneration,
    source: &T5Source,
    sampling: &Sampling,
) -> Vec<Vec<i64>> {
    let device = source.input_ids.device();
    let [rows, _] = source.input_ids.dims();
    let mut rng = rng();
    let mut decoding = Decoding::start(sampling, rows).unwrap();
    let mut ids = vec![vec![t5.config().decoder_start_token_id]; rows];
    while !decoding.is_done() {
        let data = TensorData::new(ids.concat(), [rows, ids[0].len()]);
        let input = T5Input::new(source.clone(), Tensor::from_data(data, &device));
        let logits = t5.forward(input).unwrap().logits;
        let [_, positions, _] = logits.dims();
        let last = logits.narrow(1, positions - 1, 1).squeeze_dim::<2>(1);
        let tokens = decoding.next(last, &mut rng).unwrap();
        for (row, token) in ids.iter_mut().zip(tokens) {
            row.push(token);
        }
    }
    decoding.into_tokens()
}

/// The ways to choose tokens, without an end token.
fn samplings() -> [Sampling; 3] {
    let greedy = Sampling::new(9).with_pad(Some(0));
    let warm = greedy.clone().with_temperature(Some(1.5));
    [
        greedy,
        warm.clone(),
        warm.with_top_k(Some(20)).with_top_p(Some(0.8)),
    ]
}

#[test]
fn the_cache_changes_no_token() {
    let device = Device::flex();
    for model in MODELS {
        let folder = Folder::new(model);
        let t5 = folder.model(&device);
        for input in [
            folder.input(&device),
            folder.prompted_input("prompt_tuning", &device),
        ] {
            let source = source(input);
            for sampling in samplings() {
                let cached = t5.generate(source.clone(), &sampling, &mut rng()).unwrap();
                assert_eq!(cached, without_cache(&t5, &source, &sampling));
                assert!(cached.iter().all(|row| row.len() == 9));
                // The third token of the first row ends rows: some stop early.
                let sampling = sampling.with_eos(vec![cached[0][2]]);
                let ended = t5.generate(source.clone(), &sampling, &mut rng()).unwrap();
                assert_eq!(ended, without_cache(&t5, &source, &sampling));
            }
        }
    }
}

#[test]
fn ended_rows_are_padding() {
    let device = Device::flex();
    let folder = Folder::new("t5_gated_gelu");
    let t5 = folder.model(&device);
    let source = source(folder.input(&device));
    let sampling = samplings()[1].clone();
    let endless = t5.generate(source.clone(), &sampling, &mut rng()).unwrap();
    let end = endless[0][2];
    let sampling = sampling.with_eos(vec![end]);
    let ended = t5.generate(source, &sampling, &mut rng()).unwrap();
    for row in &ended {
        let stop = row.iter().position(|&token| token == end);
        let after = stop.map_or(&row[..0], |stop| &row[stop + 1..]);
        assert!(after.iter().all(|&token| token == 0), "{row:?}");
    }
    let stop = endless[0].iter().position(|&token| token == end).unwrap();
    assert_eq!(ended[0][..=stop], endless[0][..=stop]);
}

#[test]
fn a_row_is_answered_as_if_alone() {
    let device = Device::flex();
    for model in MODELS {
        let folder = Folder::new(model);
        let t5 = folder.model(&device);
        let rows: [&[i64]; 3] = [&[4, 9, 23, 50, 77, 1], &[31, 1], &[8, 60, 15, 1]];
        let length = 6;
        let padded = |row: &[i64], with: i64| {
            let mut row = row.to_vec();
            row.resize(length, with);
            row
        };
        let tensor = |values: Vec<i64>, rows: usize, columns: usize| {
            Tensor::<2, Int>::from_data(TensorData::new(values, [rows, columns]), &device)
        };
        // The tokens at the padding do not matter.
        let ids = rows.iter().flat_map(|row| padded(row, 66)).collect();
        let mask = rows.iter().flat_map(|row| padded(&vec![1; row.len()], 0));
        let batch = T5Source::new(tensor(ids, 3, length)).with_attention_mask(tensor(
            mask.collect(),
            3,
            length,
        ));
        let sampling = &samplings()[0];
        let together = t5.generate(batch, sampling, &mut rng()).unwrap();
        for (row, together) in rows.iter().zip(&together) {
            let alone = T5Source::new(tensor(row.to_vec(), 1, row.len()));
            let alone = t5.generate(alone, sampling, &mut rng()).unwrap();
            assert_eq!(alone[0], *together, "{model}");
        }
    }
}

#[test]
fn dropout_and_gradients_are_off() {
    let device = Device::flex();
    let folder = Folder::new("t5_relu");
    let mut config = folder.model(&device).config().clone();
    config.dropout_rate = 0.5;
    let sampling = &samplings()[0];
    let answer = |device: &Device| {
        device.seed(5);
        let t5 = config.init(device).unwrap();
        let source = source(folder.input(device));
        t5.generate(source, sampling, &mut rng()).unwrap()
    };
    let training = device.clone().autodiff();
    assert_eq!(answer(&training), answer(&device));

    let t5 = config.init(&training).unwrap();
    let logits = || t5.forward(folder.input(&training)).unwrap().logits;
    let difference = (logits() - logits()).abs().max().into_scalar::<f32>();
    assert!(difference > 1e-3, "training drops out: {difference}");
}

#[test]
fn inputs_that_do_not_fit_are_errors() {
    let device = Device::flex();
    let folder = Folder::new("t5_relu");
    let t5 = folder.model(&device);
    let ones = |shape: [usize; 2]| Tensor::<2, Int>::ones(shape, &device);
    let name = |source: T5Source, decoder_rows: usize| {
        let input = T5Input::new(source, ones([decoder_rows, 2]));
        match t5.forward(input).unwrap_err() {
            Error::Input { name, .. } => name,
            other => panic!("{other}"),
        }
    };
    let source = || T5Source::new(ones([2, 5]));
    let mask = |shape| source().with_attention_mask(ones(shape));
    assert_eq!(name(mask([3, 5]), 2), "attention_mask");
    assert_eq!(name(mask([2, 4]), 2), "attention_mask");
    let prompt = |shape: [usize; 3]| source().with_prompt(Tensor::ones(shape, &device));
    assert_eq!(name(prompt([3, 4, 32]), 2), "prompt");
    assert_eq!(name(prompt([2, 4, 31]), 2), "prompt");
    assert_eq!(name(source(), 1), "decoder_input_ids");
    assert_eq!(name(source(), 0), "decoder_input_ids");
    let empty = Tensor::<2, Int>::from_data(TensorData::new(Vec::<i64>::new(), [2, 0]), &device);
    assert_eq!(name(T5Source::new(empty), 2), "input_ids");

    let tape = burn_ief::Tape::start();
    let recorded = t5.generate(source(), &samplings()[0], &mut rng());
    drop(tape);
    assert!(matches!(recorded, Err(Error::Input { name: "source", .. })));
}
