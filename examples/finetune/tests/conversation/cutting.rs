//! Samples that are longer than the longest input.

use finetune::conversation::{ChatTemplate, EncodeOptions, EncodedSample, Layout, NO_LABEL};
use finetune::data::Error;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{encoder, samples, tokenizer};

fn chat(turns: &[&str]) -> Value {
    let messages = turns.iter().enumerate().map(|(place, text)| {
        json!({"role": if place % 2 == 0 { "user" } else { "assistant" }, "content": text})
    });
    json!({"messages": messages.collect::<Vec<_>>()})
}

fn encode(
    layout: Layout,
    most: usize,
    rows: &[Value],
) -> Result<(Vec<EncodedSample>, [usize; 2]), Error> {
    let found = encoder("bytes", layout, EncodeOptions::new(most)).encode(&samples(rows))?;
    Ok((found.items, [found.summary.cut, found.summary.lost]))
}

#[test]
fn a_conversation_is_cut_behind_the_last_answer_that_fits() {
    let row = chat(&["hello", "one", "hello", "two", "hello", "three"]);
    let whole = encode(
        ChatTemplate::chatml().into(),
        4096,
        std::slice::from_ref(&row),
    )
    .unwrap()
    .0
    .remove(0);
    let end = i64::from(tokenizer("bytes").token_to_id("<|im_end|>").unwrap());
    let ends: Vec<usize> = (0..whole.length())
        .filter(|&place| whole.labels[place] == end)
        .map(|place| place + 1)
        .collect();
    assert_eq!(ends.len(), 3);
    for most in ends[0]..whole.length() {
        let (items, [cut, lost]) = encode(
            ChatTemplate::chatml().into(),
            most,
            std::slice::from_ref(&row),
        )
        .unwrap();
        let fits = ends.iter().rev().find(|end| **end <= most).unwrap();
        assert_eq!(
            (items[0].length(), cut, lost),
            (*fits, 1, 0),
            "at most {most}"
        );
        assert_eq!(items[0].ids, whole.ids[..*fits]);
    }
}

#[test]
fn a_sample_that_loses_its_answer_is_left_out_and_counted() {
    let rows = [
        chat(&["hello", "one"]),
        chat(&[&"hello there ".repeat(40), "two"]),
    ];
    let (items, counts) = encode(ChatTemplate::chatml().into(), 40, &rows).unwrap();
    assert_eq!((items.len(), counts), (1, [1, 1]));
    let found = encoder(
        "bytes",
        ChatTemplate::chatml().into(),
        EncodeOptions::new(40),
    )
    .encode(&samples(&rows))
    .unwrap();
    let shown = found.summary.to_string();
    assert!(
        shown.contains("1 left out because nothing of the answer was left (the first: ")
            && shown.contains("line 2)"),
        "{shown}"
    );
    let error = encode(ChatTemplate::chatml().into(), 3, &rows).unwrap_err();
    let expected = "option `max_length`: expected a length that leaves a part of at least one of 2 answers, found 3";
    assert_eq!(error.to_string(), expected);
    let preview = encoder(
        "bytes",
        ChatTemplate::chatml().into(),
        EncodeOptions::new(40),
    )
    .preview(&samples(&rows)[1])
    .unwrap();
    assert!(preview.contains("more tokens were cut"), "{preview}");
}

#[test]
fn an_option_below_two_tokens_is_refused() {
    let special = Default::default();
    let made = finetune::conversation::ConversationEncoder::new(
        tokenizer("bytes"),
        Layout::Plain,
        &special,
        EncodeOptions::new(1),
    );
    assert_eq!(
        made.unwrap_err().to_string(),
        "option `max_length`: expected at least 2 tokens, found 1"
    );
    let special = finetune::conversation::SpecialTokens::new([("eos_token", "<nothing>")]);
    let made = finetune::conversation::ConversationEncoder::new(
        tokenizer("bytes"),
        Layout::Plain,
        &special,
        EncodeOptions::new(9),
    );
    assert!(
        made.unwrap_err()
            .to_string()
            .contains("an `eos_token` of the vocabulary, found `<nothing>`")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn texts_end_with_whole_characters_and_are_as_long_as_they_may(
        text in "[a-c é😀日\u{301}\n]{1,30}",
        prompt in "[a-c é😀\u{301}]{0,6}",
        most in 2usize..40,
    ) {
        prop_assume!(!text.trim().is_empty());
        let row = if prompt.trim().is_empty() { json!({"text": text}) } else { json!({"prompt": prompt, "completion": text}) };
        let (whole, _) = encode(Layout::Plain, 4096, std::slice::from_ref(&row)).unwrap();
        let whole = &whole[0];
        let tokenizer = tokenizer("bytes");
        prop_assert!(whole.labels.iter().zip(&whole.ids).all(|(label, id)| [NO_LABEL, i64::from(*id)].contains(label)));
        let Ok((items, [cut, _])) = encode(Layout::Plain, most, std::slice::from_ref(&row)) else { return Ok(()) };
        let found = &items[0];
        prop_assert!(found.length() <= most);
        prop_assert_eq!(&found.ids[..], &whole.ids[..found.length()]);
        prop_assert_eq!(&found.labels[..], &whole.labels[..found.length()]);
        prop_assert_eq!(cut, usize::from(whole.length() > most));
        let decoded = tokenizer.decode(&found.ids, false).unwrap();
        prop_assert!(!decoded.ends_with('\u{fffd}'), "{decoded:?}");
        // Every longer part that fits ends within a character: with tokens that join parts of two characters, these can
        // be many.
        for longer in found.length() + 1..=most.min(whole.length()) {
            let decoded = tokenizer.decode(&whole.ids[..longer], false).unwrap();
            prop_assert!(decoded.ends_with('\u{fffd}'), "{longer} tokens fit: {decoded:?}");
        }
    }
}
