//! The text of tokens that come one after the other.

use std::collections::BTreeSet;

use tokenizers::Tokenizer;

use crate::error::Error;

/// Tokens of the prompt that the first piece is decoded with: they decide whether it begins with a space.
const CONTEXT: usize = 16;
/// Tokens that a letter is waited for. The longest letters have four bytes, and a token may end one letter and begin
/// the next.
const WAITED: usize = 8;
/// What a decoder puts in the place of bytes that are not a letter.
const UNKNOWN: char = char::REPLACEMENT_CHARACTER;

/// Turns tokens into pieces of text whose concatenation is the text of the prompt and all tokens without that of the
/// prompt.
///
/// A token is not decoded alone: a letter may have bytes in several tokens, and decoders drop the first space of a
/// text. So a piece is the difference between two texts that begin with the tokens of the piece before.
pub(super) struct TokenText<'a> {
    tokenizer: &'a Tokenizer,
    /// Tokens that have no text.
    special: &'a BTreeSet<u32>,
    window: Vec<u32>,
    /// Tokens of the window whose text was given out.
    given: usize,
}

impl<'a> TokenText<'a> {
    pub fn new(tokenizer: &'a Tokenizer, special: &'a BTreeSet<u32>, prompt: &[i64]) -> Self {
        let mut text = Self {
            tokenizer,
            special,
            window: Vec::new(),
            given: 0,
        };
        let ids = prompt.iter().rev().filter_map(|&id| text.visible(id));
        let mut window: Vec<u32> = ids.take(CONTEXT).collect();
        window.reverse();
        // Bytes whose letter began before the window would spoil those after them.
        let is_spoilt = |window: &[u32]| {
            let decoded = tokenizer.decode(window, false);
            decoded.is_ok_and(|decoded| decoded.starts_with(UNKNOWN))
        };
        while is_spoilt(&window) {
            window.remove(0);
        }
        text.given = window.len();
        text.window = window;
        text
    }

    /// The token, unless it is special or the tokenizer does not know it (a model may have more rows than there are
    /// tokens).
    fn visible(&self, id: i64) -> Option<u32> {
        let id = u32::try_from(id).ok()?;
        let known = self.tokenizer.id_to_token(id).is_some();
        (known && !self.special.contains(&id)).then_some(id)
    }

    /// Append a token; returns what it completes, which may be nothing.
    pub fn push(&mut self, id: i64) -> Result<String, Error> {
        let Some(id) = self.visible(id) else {
            return Ok(String::new());
        };
        self.window.push(id);
        if self.window.len() - self.given < WAITED {
            self.piece(self.window.len(), true)
        } else {
            self.piece(self.end_of_letters()?, false)
        }
    }

    /// What is left, complete or not.
    pub fn finish(&mut self) -> Result<String, Error> {
        if self.given == self.window.len() {
            return Ok(String::new());
        }
        self.piece(self.window.len(), false)
    }

    /// Where to cut tokens that have waited long enough. The last three may begin a letter: they wait on if fewer bytes
    /// are unknown without them (a text may hold U+FFFD itself, which looks like a part of a letter).
    fn end_of_letters(&self) -> Result<usize, Error> {
        let all = self.window.len();
        let mut best = (usize::MAX, all);
        for end in (all - 3..=all).rev() {
            let unknown = self.decode(&self.window[..end])?.matches(UNKNOWN).count();
            if unknown < best.0 {
                best = (unknown, end);
            }
        }
        Ok(best.1)
    }

    /// The text of the tokens up to `end` that were not given out.
    fn piece(&mut self, end: usize, may_wait: bool) -> Result<String, Error> {
        let before = self.decode(&self.window[..self.given])?;
        let now = self.decode(&self.window[..end])?;
        if may_wait && (now.len() <= before.len() || now.ends_with(UNKNOWN)) {
            return Ok(String::new());
        }
        let new = match now.strip_prefix(&before) {
            Some(new) => new.to_string(),
            // Some decoders take a letter back when the bytes after it are wrong. What was given out stays.
            None => self.decode(&self.window[self.given..end])?,
        };
        self.window.drain(..self.given);
        self.given = end - self.given;
        Ok(new)
    }

    fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        let text = self.tokenizer.decode(ids, false);
        text.map_err(|error| {
            Error::from(crate::data::Error::Tokens {
                index: 0,
                text: format!("tokens {ids:?}"),
                problem: error.to_string(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    /// A tokenizer with a token for each byte, as those of Llama have them, and a few pieces with spaces.
    fn of_bytes() -> Tokenizer {
        let mut vocabulary = Map::new();
        for byte in 0..256 {
            vocabulary.insert(format!("<0x{byte:02X}>"), json!(byte));
        }
        for (id, piece) in ["▁", "▁a", "a", "b", "▁▁", "é"].into_iter().enumerate() {
            vocabulary.insert(piece.into(), json!(256 + id));
        }
        let decoders = json!([
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]);
        tokenizer(
            vocabulary,
            json!({"type": "Sequence", "decoders": decoders}),
        )
    }

    /// One with bytes as letters, as those of GPT-2 and its descendants have them.
    fn of_letters() -> Tokenizer {
        let letters = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        let mut letters: Vec<char> = letters.into_iter().collect();
        letters.sort_unstable();
        let vocabulary = letters.iter().enumerate();
        let vocabulary = vocabulary.map(|(id, letter)| (letter.to_string(), json!(id)));
        let decoder = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        tokenizer(vocabulary.collect(), decoder)
    }

    fn tokenizer(vocabulary: Map<String, Value>, decoder: Value) -> Tokenizer {
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": null, "post_processor": null, "decoder": decoder,
            "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
        });
        json.to_string().parse().unwrap()
    }

    fn joined(tokenizer: &Tokenizer, prompt: &[u32], ids: &[u32]) -> (String, Vec<String>) {
        let wide = |ids: &[u32]| -> Vec<i64> { ids.iter().map(|&id| id.into()).collect() };
        let none = BTreeSet::new();
        let mut text = TokenText::new(tokenizer, &none, &wide(prompt));
        let pieces = wide(ids).into_iter().map(|id| text.push(id).unwrap());
        let mut pieces: Vec<String> = pieces.collect();
        pieces.push(text.finish().unwrap());
        (pieces.concat(), pieces)
    }

    /// The text of both without that of the prompt.
    fn at_once(tokenizer: &Tokenizer, prompt: &[u32], ids: &[u32]) -> String {
        let before = tokenizer.decode(prompt, false).unwrap();
        let all = tokenizer.decode(&[prompt, ids].concat(), false).unwrap();
        all.strip_prefix(&before).unwrap().to_string()
    }

    /// A token for each byte of a text.
    fn ids_of(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
        text.bytes().map(|byte| id_of(tokenizer, byte)).collect()
    }

    fn id_of(tokenizer: &Tokenizer, byte: u8) -> u32 {
        if tokenizer.token_to_id("<0x00>").is_some() {
            return u32::from(byte);
        }
        // GPT-2's table: printable bytes are letters themselves, the others follow from 256 on.
        let printable = |byte: &u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
        let letter = if printable(&byte) {
            char::from(byte)
        } else {
            let before = (0..byte).filter(|byte| !printable(byte)).count() as u32;
            char::from_u32(256 + before).unwrap()
        };
        tokenizer.token_to_id(&letter.to_string()).unwrap()
    }

    #[test]
    fn letters_over_several_tokens_come_whole() {
        for tokenizer in [of_bytes(), of_letters()] {
            for text in [
                "😀",
                "ďábelské",
                "日本語 und 😀😀",
                "\u{fffd}x",
                "a\u{fffd}",
            ] {
                let ids = ids_of(&tokenizer, text);
                let (found, pieces) = joined(&tokenizer, &ids_of(&tokenizer, "x: "), &ids);
                assert_eq!(found, text);
                let spoiled = pieces
                    .iter()
                    .filter(|piece| piece.contains(UNKNOWN))
                    .count();
                assert_eq!(spoiled, text.matches(UNKNOWN).count(), "{pieces:?}");
            }
        }
    }

    #[test]
    fn replacement_characters_of_the_text_itself_spoil_no_letter() {
        for tokenizer in [of_bytes(), of_letters()] {
            for text in ["\u{fffd}\u{fffd}ა", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}😀b"] {
                let ids = ids_of(&tokenizer, text);
                assert_eq!(joined(&tokenizer, &ids_of(&tokenizer, "x"), &ids).0, text);
            }
        }
    }

    #[test]
    fn spaces_at_the_beginning_are_kept() {
        let tokenizer = of_bytes();
        let [space, space_a, b] =
            ["▁", "▁a", "b"].map(|piece| tokenizer.token_to_id(piece).unwrap());
        assert_eq!(joined(&tokenizer, &[b], &[space_a, space_a]).0, " a a");
        assert_eq!(joined(&tokenizer, &[b], &[space, space_a, b]).0, "  ab");
        // Without anything before it, the first space is the one that the tokenizer put there.
        assert_eq!(joined(&tokenizer, &[], &[space_a, space_a]).0, "a a");
    }

    #[test]
    fn what_never_becomes_a_letter_is_given_out() {
        for tokenizer in [of_bytes(), of_letters()] {
            let byte = |byte: u8| id_of(&tokenizer, byte);
            let broken = vec![byte(0xf0); 40];
            let (found, pieces) = joined(&tokenizer, &[byte(b'a')], &broken);
            assert_eq!(found, UNKNOWN.to_string().repeat(40));
            assert!(pieces.iter().all(|piece| piece.chars().count() <= WAITED));
            // A letter that was given out is not given out again when bytes after it are wrong.
            let grin: Vec<u32> = "😀".bytes().chain([0xf0]).map(byte).collect();
            assert_eq!(joined(&tokenizer, &[byte(b'a')], &grin).0, "😀\u{fffd}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn joined_pieces_are_the_text_at_once(
            prompt in "[ aé😀\n]{0,20}",
            text in "\\PC{0,20}",
            pieces in prop::collection::vec(256u32..262, 0..12),
        ) {
            for tokenizer in [of_bytes(), of_letters()] {
                let before = ids_of(&tokenizer, &format!("x{prompt}"));
                let mut ids = ids_of(&tokenizer, &text);
                if tokenizer.token_to_id("▁a").is_some() {
                    ids.extend(&pieces);
                }
                let (found, _) = joined(&tokenizer, &before, &ids);
                prop_assert_eq!(found, at_once(&tokenizer, &before, &ids));
            }
        }
    }
}
