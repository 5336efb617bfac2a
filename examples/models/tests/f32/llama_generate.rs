//! Generation with kept keys and values, against whole forward passes over ever longer texts.

use crate::llama_golden;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_hf_models::Error;
use burn_hf_models::generate::{Decoding, Sampling};
use burn_hf_models::llama::{LlamaForCausalLM, LlamaInput};
use burn_ief::Tape;
use llama_golden::{model, prompt};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const NEW: usize = 12;
/// Texts of different lengths.
const TEXTS: [&[i64]; 4] = [&[5, 17, 90, 4, 33], &[61], &[8, 9, 10], &[77, 3, 42, 1]];
const LONGEST: usize = 5;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(11)
}

fn ids(rows: &[Vec<i64>], device: &Device) -> Tensor<2, Int> {
    let shape = [rows.len(), rows[0].len()];
    Tensor::from_data(TensorData::new(rows.concat(), shape), device)
}

/// Rows of one length without padding, continued without a cache.
fn uncached(
    model: &LlamaForCausalLM,
    rows: &[Vec<i64>],
    prompt: Option<Tensor<3>>,
    sampling: &Sampling,
) -> Vec<Vec<i64>> {
    let device = Device::flex();
    let (mut rows, mut rng) = (rows.to_vec(), rng());
    let mut decoding = Decoding::start(sampling, rows.len()).unwrap();
    while !decoding.is_done() {
        let mut input = LlamaInput::new(ids(&rows, &device));
        input.prompt = prompt.clone();
        let logits = model.forward(input).unwrap().logits;
        let [_, length, _] = logits.dims();
        let last = logits.narrow(1, length - 1, 1).squeeze_dim::<2>(1);
        let tokens = decoding.next(last, &mut rng).unwrap();
        rows.iter_mut()
            .zip(tokens)
            .for_each(|(row, token)| row.push(token));
    }
    decoding.into_tokens()
}

/// The same rows with a cache.
fn cached(
    model: &LlamaForCausalLM,
    rows: &[Vec<i64>],
    prompt: Option<Tensor<3>>,
    sampling: &Sampling,
) -> Vec<Vec<i64>> {
    let mut input = LlamaInput::new(ids(rows, &Device::flex()));
    input.prompt = prompt;
    model.generate(input, sampling, &mut rng()).unwrap()
}

/// All texts in one batch, padded on one side.
fn padded(left: bool, device: &Device) -> LlamaInput {
    let fill = |text: &[i64], token: fn(i64) -> i64| {
        let mut row: Vec<i64> = text.iter().copied().map(token).collect();
        let padding = vec![0; LONGEST - row.len()];
        let at = if left { 0 } else { row.len() };
        row.splice(at..at, padding);
        row
    };
    let rows = |token: fn(i64) -> i64| TEXTS.map(|text| fill(text, token));
    LlamaInput::new(ids(&rows(|id| id), device)).with_attention_mask(ids(&rows(|_| 1), device))
}

#[test]
fn cached_tokens_are_those_of_whole_passes() {
    let device = Device::flex();
    let drawn = Sampling::new(NEW)
        .with_temperature(Some(1.5))
        .with_top_k(Some(20));
    for name in ["llama", "qwen2"] {
        let model = model(name, &device);
        let rows = [vec![5, 17, 90], vec![61, 2, 2], vec![8, 9, 10]];
        for sampling in [Sampling::new(NEW), drawn.clone()] {
            let tokens = cached(&model, &rows, None, &sampling);
            assert_eq!(tokens, uncached(&model, &rows, None, &sampling));
            assert!(tokens.iter().all(|row| row.len() == NEW));
            // Different rows, and not one token over and over.
            assert_ne!(tokens[0], tokens[1]);
            assert!(tokens.iter().any(|row| row.iter().any(|id| *id != row[0])));
        }
    }
}

#[test]
fn a_prompt_comes_first() {
    let device = Device::flex();
    let model = model("llama", &device);
    let rows = [vec![5, 17, 90], vec![61, 2, 2]];
    let greedy = Sampling::new(NEW);
    let with = cached(&model, &rows, Some(prompt(2, &device)), &greedy);
    assert_eq!(
        with,
        uncached(&model, &rows, Some(prompt(2, &device)), &greedy)
    );
    assert_ne!(with, cached(&model, &rows, None, &greedy));
}

/// Keys and values of two positions in both layers of the model `llama`, the same for every row.
fn prefix(rows: usize, device: &Device) -> Tensor<3> {
    let count = 2 * 2 * 2 * 16;
    let numbers = Tensor::<1, Int>::arange(0..count, device).float();
    let one = (numbers * 0.7).sin().reshape([1, 2, count as usize / 2]);
    one.expand([rows, 2, count as usize / 2])
}

#[test]
fn texts_go_on_behind_a_prefix() {
    let device = Device::flex();
    let model = model("llama", &device);
    let greedy = Sampling::new(NEW);
    let alone: Vec<Vec<i64>> = TEXTS
        .iter()
        .map(|text| {
            let mut row = text.to_vec();
            for _ in 0..NEW {
                let input = LlamaInput::new(ids(&[row.clone()], &device));
                let input = input.with_prefix(prefix(1, &device));
                let logits = model.forward(input).unwrap().logits;
                let last = logits.narrow(1, row.len() - 1, 1).argmax(2);
                row.push(last.into_data().iter::<i64>().next().unwrap());
            }
            row.split_off(text.len())
        })
        .collect();
    let rows = TEXTS.len();
    for left in [true, false] {
        let input = padded(left, &device).with_prefix(prefix(rows, &device));
        let found = model.generate(input, &greedy, &mut rng()).unwrap();
        assert_eq!(found, alone, "left: {left}");
    }
    let without = padded(true, &device);
    assert_ne!(model.generate(without, &greedy, &mut rng()).unwrap(), alone);
    let row = || LlamaInput::new(ids(&[TEXTS[0].to_vec()], &device));
    let positions: Vec<i64> = (2..2 + TEXTS[0].len() as i64).collect();
    let given = row().with_prefix(prefix(1, &device));
    let given = given.with_position_ids(ids(&[positions], &device));
    assert_eq!(
        model.generate(given, &greedy, &mut rng()).unwrap(),
        alone[..1]
    );

    for (input, name) in [
        (
            row().with_prefix(Tensor::zeros([1, 2, 63], &device)),
            "prefix",
        ),
        (row().with_prefix(prefix(2, &device)), "prefix"),
        (
            row()
                .with_prefix(prefix(1, &device))
                .with_prompt(prompt(1, &device)),
            "prefix",
        ),
        (
            LlamaInput::new(ids(&[vec![1, 2]], &device))
                .with_attention_mask(ids(&[vec![0, 0]], &device))
                .with_prefix(prefix(1, &device)),
            "attention_mask",
        ),
    ] {
        let Err(Error::Input { name: found, .. }) = model.generate(input, &greedy, &mut rng())
        else {
            panic!("{name} was accepted");
        };
        assert_eq!(found, name);
    }
}

#[test]
fn padded_rows_go_on_as_they_do_alone() {
    let device = Device::flex();
    for name in ["llama", "qwen2"] {
        let model = model(name, &device);
        for with_prompt in [false, true] {
            let prompt = |rows| with_prompt.then(|| prompt(rows, &device));
            let alone: Vec<Vec<i64>> = TEXTS
                .iter()
                .map(|text| {
                    let rows = [text.to_vec()];
                    cached(&model, &rows, prompt(1), &Sampling::new(NEW)).remove(0)
                })
                .collect();
            for left in [true, false] {
                let mut input = padded(left, &device);
                input.prompt = prompt(TEXTS.len());
                let tokens = model.generate(input, &Sampling::new(NEW), &mut rng());
                assert_eq!(tokens.unwrap(), alone, "{name}, left: {left}");
            }
        }
    }
}

#[test]
fn given_positions_are_gone_on_with() {
    let device = Device::flex();
    let model = model("llama", &device);
    let row = [vec![5, 17, 90]];
    let greedy = Sampling::new(NEW);
    let at = |positions: [i64; 3]| {
        let input = LlamaInput::new(ids(&row, &device));
        let input = input.with_position_ids(ids(&[positions.to_vec()], &device));
        model.generate(input, &greedy, &mut rng()).unwrap()
    };
    let counted = cached(&model, &row, None, &greedy);
    assert_eq!(at([0, 1, 2]), counted);
    // Distances alone count.
    assert_eq!(at([7, 8, 9]), counted);
}

#[test]
fn ended_rows_are_padded_until_all_have_ended() {
    let device = Device::flex();
    let model = model("llama", &device);
    let rows = [vec![5, 17, 90], vec![61, 2, 2]];
    let free = cached(&model, &rows, None, &Sampling::new(NEW));
    // End the first row at its third token.
    let eos = free[0][2];
    let first = free[0].iter().position(|&id| id == eos).unwrap();
    let sampling = Sampling::new(NEW).with_eos(vec![eos]).with_pad(Some(7));
    let tokens = cached(&model, &rows, None, &sampling);
    assert_eq!(tokens, uncached(&model, &rows, None, &sampling));
    assert_eq!(tokens[0][..=first], free[0][..=first]);
    assert!(tokens[0][first + 1..].iter().all(|&id| id == 7));
    let length = tokens[1].len();
    assert_eq!(tokens[1], free[1][..length]);
    assert_eq!(tokens[0].len(), length);
    // The row on its own stops at its end.
    let alone = cached(&model, &rows[..1], None, &sampling);
    assert_eq!(alone[0].len(), first + 1);
    // The model's own end tokens.
    assert_eq!(model.config().sampling(3).eos, [2]);
    assert_eq!(model.config().sampling(3).pad, Some(0));
}

/// Tokens of `transformers` 5.24.0: `generate(…, max_new_tokens=12, do_sample=False, eos_token_id=None,
/// repetition_penalty=…)` on the fixture `llama`.
#[test]
fn the_repetition_penalty_is_that_of_transformers() {
    let model = model("llama", &Device::flex());
    for (penalty, expected) in [
        (None, [51, 55, 55, 36, 59, 55, 25, 38, 99, 63, 99, 80]),
        (Some(1.5), [51, 55, 65, 48, 61, 38, 49, 27, 31, 23, 15, 36]),
        (Some(0.7), [51, 55, 55, 55, 0, 51, 24, 48, 48, 55, 0, 65]),
    ] {
        let sampling = Sampling::new(NEW).with_repetition_penalty(penalty);
        let tokens = cached(&model, &[vec![1, 5, 17, 20]], None, &sampling);
        assert_eq!(tokens, [expected], "{penalty:?}");
    }
    // Padding is not part of the prompt.
    let sampling = Sampling::new(NEW).with_repetition_penalty(Some(1.5));
    let device = Device::flex();
    let ids_and_mask = [[0, 0, 1, 5, 17, 20], [0, 0, 1, 1, 1, 1]];
    let [row, mask] = ids_and_mask.map(|row| ids(&[row.to_vec()], &device));
    let input = LlamaInput::new(row).with_attention_mask(mask);
    let padded = model.generate(input, &sampling, &mut rng()).unwrap();
    let alone = cached(&model, &[vec![1, 5, 17, 20]], None, &sampling);
    assert_eq!(padded, alone);
}

#[test]
fn a_training_model_generates_the_same() {
    let device = Device::flex().autodiff();
    let plain = model("qwen2", &Device::flex());
    let trained = model("qwen2", &device);
    let input = |device: &Device| padded(true, device).with_prompt(prompt(4, device));
    let greedy = Sampling::new(NEW);
    let expected = plain
        .generate(input(&Device::flex()), &greedy, &mut rng())
        .unwrap();
    let found = trained
        .generate(input(&device), &greedy, &mut rng())
        .unwrap();
    assert_eq!(found, expected);
    // Inputs and model may differ in whether they are on a tape.
    let mixed = trained
        .valid()
        .generate(input(&device), &greedy, &mut rng());
    assert_eq!(mixed.unwrap(), expected);
}

#[test]
fn what_cannot_be_continued_is_named() {
    let device = Device::flex();
    let model = model("llama", &device);
    let input = || LlamaInput::new(ids(&[vec![1, 2]], &device));
    let refused = |input: LlamaInput, sampling: Sampling| match model.generate(
        input,
        &sampling,
        &mut rng(),
    ) {
        Err(Error::Input { name, .. }) => name,
        other => panic!("{other:?}"),
    };
    let greedy = || Sampling::new(2);
    let unknown = LlamaInput::new(ids(&[vec![1, 100]], &device));
    assert_eq!(refused(unknown, greedy()), "input_ids");
    let nothing = input().with_attention_mask(ids(&[vec![0, 0]], &device));
    assert_eq!(refused(nothing.clone(), greedy()), "attention_mask");
    assert_eq!(refused(input(), greedy().with_pad(Some(100))), "pad");
    assert_eq!(refused(input(), greedy().with_top_k(Some(0))), "top_k");
    let tape = Tape::start();
    assert_eq!(refused(input(), greedy()), "input");
    drop(tape);
    // Virtual tokens are enough to go on from.
    let prompted = nothing.with_prompt(prompt(1, &device));
    assert!(model.generate(prompted, &greedy(), &mut rng()).is_ok());
}

/// Folders of the families, with windows, rotary scalings that change with the length, layers without
/// rotations.
const FAMILIES: [&str; 10] = [
    "families/llama_llama3",
    "families/llama_dynamic",
    "families/llama_yarn",
    "families/qwen2_yarn",
    "families/mistral",
    "families/qwen3",
    "families/gemma2",
    "families/gemma3_text",
    "families/phi3",
    "families/smollm3",
];

#[test]
fn every_family_goes_on_with_a_cache_as_without() {
    let device = Device::flex();
    let rows = [vec![5, 17, 20], vec![21, 9, 9], vec![8, 9, 10]];
    for name in FAMILIES {
        let model = model(name, &device);
        // The seventh token is beyond the first training of LongRoPE and of the dynamic base.
        let tokens = cached(&model, &rows, None, &Sampling::new(NEW));
        assert_eq!(
            tokens,
            uncached(&model, &rows, None, &Sampling::new(NEW)),
            "{name}"
        );
        assert!(
            tokens.iter().any(|row| row.iter().any(|id| *id != row[0])),
            "{name}"
        );
        let [width] = model.model.norm.gamma.dims();
        let prompt = || {
            let values = (0..3 * 2 * width).map(|i| (i as f32 * 0.7).sin()).collect();
            let data = TensorData::new::<f32, _>(values, [3, 2, width]);
            Some(Tensor::<3>::from_data(data, &device))
        };
        let tokens = cached(&model, &rows, prompt(), &Sampling::new(NEW));
        let expected = uncached(&model, &rows, prompt(), &Sampling::new(NEW));
        assert_eq!(tokens, expected, "{name}");
    }
}

#[test]
fn padded_rows_of_every_family_go_on_as_they_do_alone() {
    let device = Device::flex();
    let texts: [&[i64]; 3] = [&[5, 17, 20, 4], &[21], &[8, 9]];
    for name in FAMILIES {
        let model = model(name, &device);
        // Rotations of these depend on the longest text of a batch.
        if ["families/llama_dynamic", "families/phi3"].contains(&name) {
            continue;
        }
        let alone: Vec<Vec<i64>> = texts
            .iter()
            .map(|text| cached(&model, &[text.to_vec()], None, &Sampling::new(NEW)).remove(0))
            .collect();
        for left in [true, false] {
            let fill = |text: &[i64], token: fn(i64) -> i64| {
                let mut row: Vec<i64> = text.iter().copied().map(token).collect();
                let padding = vec![0; 4 - row.len()];
                let at = if left { 0 } else { row.len() };
                row.splice(at..at, padding);
                row
            };
            let rows = |token: fn(i64) -> i64| texts.map(|text| fill(text, token));
            let input = LlamaInput::new(ids(&rows(|id| id), &device))
                .with_attention_mask(ids(&rows(|_| 1), &device));
            let tokens = model.generate(input, &Sampling::new(NEW), &mut rng());
            assert_eq!(tokens.unwrap(), alone, "{name}, left: {left}");
        }
    }
}
