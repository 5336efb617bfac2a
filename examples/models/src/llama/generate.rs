//! New tokens, one after the other, with keys and values of earlier positions kept.

use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use burn_ief::recorder;
use rand::Rng;

use super::decoder::host_rows;
use super::mask::out_of_window;
use super::past::Past;
use super::{LlamaForCausalLM, LlamaInput};
use crate::error::Error;
use crate::generate::{Decoding, Sampling};
use crate::rope::length;

impl LlamaForCausalLM {
    /// Continue the texts of a batch; returns the new tokens of each row.
    ///
    /// Rows may be padded on either side: without `position_ids`, padding is not counted in
    /// positions, so every row goes on as it would alone. (PEFT counts padding between a soft
    /// prompt and the tokens.) A row that has ended is filled up until all have.
    ///
    /// Dropout is off and no gradient is kept. [`LlamaConfig::sampling`](super::LlamaConfig::sampling)
    /// has the end and padding tokens of the model.
    ///
    /// ```
    /// use burn::tensor::{Device, Int, Tensor};
    /// use burn_hf_models::generate::Sampling;
    /// use burn_hf_models::llama::{LlamaConfig, LlamaInput};
    /// use rand::SeedableRng;
    /// use rand_chacha::ChaCha8Rng;
    ///
    /// let device = Device::flex();
    /// let model = LlamaConfig::new(100, 32, 64, 2, 4).init(&device)?;
    /// let ids = Tensor::<2, Int>::from_data([[5, 7, 9], [1, 2, 3]], &device);
    /// let mut rng = ChaCha8Rng::seed_from_u64(1);
    /// let tokens = model.generate(LlamaInput::new(ids), &Sampling::new(4), &mut rng)?;
    /// assert_eq!(tokens.len(), 2);
    /// assert_eq!(tokens[0].len(), 4);
    /// # Ok::<(), burn_hf_models::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Input`] if the input does not fit (see [`validate`](Self::validate)), a row holds
    /// neither a token nor a virtual one, a field of `sampling` is out of range, its padding token
    /// is not in the vocabulary, logits are no numbers, or inside a recording, which would take the
    /// rows for samples.
    pub fn generate(
        &self,
        input: LlamaInput,
        sampling: &Sampling,
        rng: &mut impl Rng,
    ) -> Result<Vec<Vec<i64>>, Error> {
        let mut generation = self.start_generation(input, sampling)?;
        while generation.next_tokens(rng)?.is_some() {}
        Ok(generation.into_tokens())
    }

    /// Read the texts of a batch, to continue them token by token; see [`generate`](Self::generate).
    ///
    /// ```
    /// use burn::tensor::{Device, Int, Tensor};
    /// use burn_hf_models::generate::Sampling;
    /// use burn_hf_models::llama::{LlamaConfig, LlamaInput};
    /// use rand::SeedableRng;
    /// use rand_chacha::ChaCha8Rng;
    ///
    /// let device = Device::flex();
    /// let model = LlamaConfig::new(100, 32, 64, 2, 4).init(&device)?;
    /// let ids = Tensor::<2, Int>::from_data([[5, 7, 9]], &device);
    /// let mut rng = ChaCha8Rng::seed_from_u64(1);
    /// let mut generation = model.start_generation(LlamaInput::new(ids), &Sampling::new(3))?;
    /// let mut text = Vec::new();
    /// while let Some(tokens) = generation.next_tokens(&mut rng)? {
    ///     text.push(tokens[0]);
    /// }
    /// assert_eq!(text.len(), 3);
    /// assert_eq!(generation.into_tokens(), [text]);
    /// # Ok::<(), burn_hf_models::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`generate`](Self::generate), except for the logits.
    pub fn start_generation(
        &self,
        input: LlamaInput,
        sampling: &Sampling,
    ) -> Result<LlamaGeneration, Error> {
        if recorder().is_some() {
            return Err(Error::Input {
                name: "input",
                reason: "cannot be continued inside a recording".into(),
            });
        }
        self.validate(&input)?;
        let [rows, _] = input.input_ids.dims();
        let decoding = Decoding::start(sampling, rows)?;
        self.check_filler(sampling)?;
        let (texts, logits) = Texts::read(self.valid(), input)?;
        let prompts = texts.ids.iter().zip(&texts.tokens).map(|(ids, tokens)| {
            // Virtual tokens come first and have no ids.
            let tokens = &tokens[tokens.len() - ids.len()..];
            let own = ids.iter().zip(tokens).filter(|(_, token)| **token);
            own.map(|(&id, _)| id).collect()
        });
        let prompts: Vec<Vec<i64>> = prompts.collect();
        Ok(LlamaGeneration {
            decoding: decoding.with_prompts(&prompts)?,
            logits: Some(logits),
            unread: Vec::new(),
            texts,
        })
    }

    /// Ended rows are still read by the model.
    fn check_filler(&self, sampling: &Sampling) -> Result<(), Error> {
        let [vocabulary, _] = self.model.embed_tokens.weight.shape().dims();
        let filler = sampling.filler();
        if (0..vocabulary as i64).contains(&filler) {
            return Ok(());
        }
        Err(Error::Input {
            name: "pad",
            reason: format!("is {filler}, expected an id below {vocabulary}"),
        })
    }
}

/// Texts of a batch that are continued token by token, made by
/// [`start_generation`](LlamaForCausalLM::start_generation).
#[derive(Debug)]
pub struct LlamaGeneration {
    texts: Texts,
    decoding: Decoding,
    /// Those after the last tokens that the model has read, until a token of each row is chosen.
    logits: Option<Tensor<2>>,
    /// The tokens that were chosen last. The model reads them when the next ones are asked for, so that a text that is
    /// given up costs no pass for its last token.
    unread: Vec<i64>,
}

impl LlamaGeneration {
    /// The next token of each row, or `None` if all have ended or are as long as they may be. A
    /// row that has ended is filled up with the padding token.
    ///
    /// A step is one pass of the model over one token of each row.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] for logits that are no numbers.
    pub fn next_tokens(&mut self, rng: &mut impl Rng) -> Result<Option<Vec<i64>>, Error> {
        if self.decoding.is_done() {
            return Ok(None);
        }
        let logits = match self.logits.take() {
            Some(logits) => logits,
            None => self.texts.append(&self.unread),
        };
        match self.decoding.next(logits.clone(), rng) {
            Ok(tokens) => {
                self.unread.clone_from(&tokens);
                Ok(Some(tokens))
            }
            Err(error) => {
                self.logits = Some(logits);
                Err(error)
            }
        }
    }

    /// The new tokens of each row so far, of equal lengths, filled up with the padding token.
    pub fn into_tokens(self) -> Vec<Vec<i64>> {
        self.decoding.into_tokens()
    }
}

/// A batch of texts that grow, with what the model remembers of them.
#[derive(Debug)]
struct Texts {
    model: LlamaForCausalLM,
    device: Device,
    /// Ids of the tokens that are not virtual, padding included.
    ids: Vec<Vec<i64>>,
    prompt: Option<Tensor<3>>,
    /// Keys and values of the first positions, in the place of a prompt.
    prefix: Option<Tensor<3>>,
    /// Which positions of a row are tokens, virtual or not.
    tokens: Vec<Vec<bool>>,
    /// Where each position is for the rotations.
    positions: Vec<Vec<i64>>,
    /// Position of the last token of each row.
    last: Vec<i64>,
    past: Vec<Past>,
    /// The rotations of the past. Longer texts may have others (dynamic and LongRoPE), and then their
    /// past is computed again, as a pass over the whole text does it.
    frequencies: Frequencies,
}

/// The angles of all layers and of sliding ones.
type Frequencies = (Vec<f64>, Option<Vec<f64>>);

impl Texts {
    /// Read `input`; also returns the logits `[M, V]` after the last token of each row.
    fn read(model: LlamaForCausalLM, input: LlamaInput) -> Result<(Self, Tensor<2>), Error> {
        let tokens = tokens(&input)?;
        let prefix_length = input.prefix_length();
        let positions: Vec<Vec<i64>> = match input.position_ids {
            // Those of a prefix are not among them, and nothing turns its keys.
            Some(ids) => {
                let rows = rows(ids, tokens.len()).into_iter();
                let before = 0..prefix_length as i64;
                rows.map(|row| before.clone().chain(row).collect())
                    .collect()
            }
            None => tokens.iter().map(|row| counted(row)).collect(),
        };
        // The place of the last token of each row; each row has one.
        let ends: Vec<usize> = tokens
            .iter()
            .map(|row| row.iter().rposition(|&token| token).unwrap_or(0))
            .collect();
        let mut texts = Self {
            device: model.model.embed_tokens.weight.base().device(),
            ids: host_rows(input.input_ids),
            prompt: input.prompt.map(Tensor::without_autodiff),
            prefix: input.prefix.map(Tensor::without_autodiff),
            last: ends
                .iter()
                .zip(&positions)
                .map(|(&end, row)| row[end])
                .collect(),
            past: Vec::new(),
            frequencies: frequencies(&model, &positions),
            positions,
            tokens,
            model,
        };
        let hidden = texts.run(0);
        let [rows, length, width] = hidden.dims();
        let flat = ends
            .iter()
            .enumerate()
            .map(|(row, end)| (row * length + end - prefix_length) as i64);
        let ends = TensorData::new(flat.collect(), [rows]);
        let ends = Tensor::<1, Int>::from_data(ends, &texts.device);
        let hidden: Tensor<2> = hidden.reshape([rows * length, width]).select(0, ends);
        let logits = texts.model.logits(hidden);
        Ok((texts, logits))
    }

    /// Append a token to each row; returns the logits `[M, V]` after it.
    fn append(&mut self, tokens: &[i64]) -> Tensor<2> {
        self.tokens.iter_mut().for_each(|row| row.push(true));
        self.last.iter_mut().for_each(|position| *position += 1);
        for (row, &position) in self.positions.iter_mut().zip(&self.last) {
            row.push(position);
        }
        for (row, &token) in self.ids.iter_mut().zip(tokens) {
            row.push(token);
        }
        let frequencies = frequencies(&self.model, &self.positions);
        let start = if frequencies == self.frequencies {
            self.length() - 1
        } else {
            self.frequencies = frequencies;
            0
        };
        let hidden = self.run(start);
        let [_, computed, _] = hidden.dims();
        let last = hidden.narrow(1, computed - 1, 1);
        self.model.logits(last.squeeze_dim(1))
    }

    /// Positions of a row, virtual ones included.
    fn length(&self) -> usize {
        self.tokens.first().map_or(0, Vec::len)
    }

    /// Hidden states `[M, T, d]` of the positions from `start` on, which join the past. From 0 the
    /// past is another one.
    fn run(&mut self, start: usize) -> Tensor<3> {
        let decoder = &self.model.model;
        let length_of = |x: &Option<Tensor<3>>| x.as_ref().map_or(0, |x| x.dims()[1]);
        let prefix_length = length_of(&self.prefix);
        let virtual_tokens = prefix_length + length_of(&self.prompt);
        // A prefix is a past from the beginning.
        let anew = start == 0;
        let start = start.max(prefix_length);
        let prompt = self.prompt.clone().filter(|_| anew);
        let from = |rows: &[Vec<i64>], start: usize| -> Vec<Vec<i64>> {
            rows.iter().map(|row| row[start..].to_vec()).collect()
        };
        let ids = from(&self.ids, start.saturating_sub(virtual_tokens));
        let hidden = decoder.embed(self.tensor(&ids), prompt);
        let positions = from(&self.positions, start);
        let length = length(&self.positions);
        let mut around = decoder.surroundings(&positions, length, self.padding(), &hidden);
        around.out_of_window = self.out_of_window(start);
        if anew {
            self.past = match &self.prefix {
                Some(prefix) => decoder.past_of(prefix.clone(), &hidden),
                None => vec![Past::default(); decoder.layers.len()],
            };
        }
        decoder.run(hidden, &around, Some(&mut self.past))
    }

    /// True for what is not a token, `[M, U]`.
    fn padding(&self) -> Option<Tensor<2, Bool>> {
        let padding: Vec<bool> = self.tokens.iter().flatten().map(|token| !token).collect();
        if !padding.contains(&true) {
            return None;
        }
        let rows = self.tokens.len();
        let shape = [rows, padding.len() / rows];
        Some(Tensor::from_data(
            TensorData::new(padding, shape),
            &self.device,
        ))
    }

    /// Where there is padding between tokens, windows count tokens, so that every row goes on as it
    /// would alone.
    fn out_of_window(&self, start: usize) -> Option<Tensor<3, Bool>> {
        let window = self.model.config().sliding_window?;
        let has_gap = |row: &Vec<bool>| {
            let mut seen = row.iter().skip_while(|&&token| !token);
            seen.any(|&token| !token) && row.ends_with(&[true])
        };
        if !self.tokens.iter().any(has_gap) {
            return None;
        }
        let counts: Vec<Vec<i64>> = self.tokens.iter().map(|row| counted(row)).collect();
        Some(out_of_window(&counts, start, window, &self.device))
    }

    fn tensor(&self, rows: &[Vec<i64>]) -> Tensor<2, Int> {
        let shape = [rows.len(), rows.first().map_or(0, Vec::len)];
        Tensor::from_data(TensorData::new(rows.concat(), shape), &self.device)
    }
}

/// The rotations of a text with these positions.
fn frequencies(model: &LlamaForCausalLM, positions: &[Vec<i64>]) -> Frequencies {
    let length = length(positions);
    let config = model.config();
    let local = config.local_rope();
    (
        config.rope().frequencies(length),
        local.map(|rope| rope.frequencies(length)),
    )
}

/// Which of the V + T positions of each row are tokens.
fn tokens(input: &LlamaInput) -> Result<Vec<Vec<bool>>, Error> {
    let [rows, length] = input.input_ids.dims();
    let seen = match &input.attention_mask {
        Some(mask) => host_rows(mask.clone()),
        None => vec![vec![1; length]; rows],
    };
    let prefix_length = input.prefix_length();
    let prompt = vec![true; prefix_length + input.virtual_tokens()];
    let with_prompt = |row: Vec<i64>| {
        let tokens = row.into_iter().map(|seen| seen == 1);
        prompt.iter().copied().chain(tokens).collect()
    };
    let tokens: Vec<Vec<bool>> = seen.into_iter().map(with_prompt).collect();
    // A prefix has no hidden state to go on from.
    let is_empty = |row: &Vec<bool>| !row[prefix_length..].contains(&true);
    match tokens.iter().position(is_empty) {
        Some(row) => Err(Error::Input {
            name: "attention_mask",
            reason: format!("leaves no token in row {row}"),
        }),
        None => Ok(tokens),
    }
}

/// Positions that count tokens alone.
fn counted(tokens: &[bool]) -> Vec<i64> {
    let mut next = 0;
    let position = |&token: &bool| {
        next += i64::from(token);
        (next - 1).max(0)
    };
    tokens.iter().map(position).collect()
}

/// A row for each of `count` samples.
fn rows(ids: Tensor<2, Int>, count: usize) -> Vec<Vec<i64>> {
    let rows = host_rows(ids);
    rows.into_iter().cycle().take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_not_counted() {
        let (t, p) = (true, false);
        assert_eq!(counted(&[p, p, t, t]), [0, 0, 0, 1]);
        assert_eq!(counted(&[t, t, p, t]), [0, 1, 1, 2]);
    }
}
