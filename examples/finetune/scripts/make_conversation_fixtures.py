"""Make tests/conversation/fixtures: two small tokenizers, samples as `transformers` turns them into tokens, Parquet files.

    pip install transformers jinja2 pyarrow
    python examples/finetune/scripts/make_conversation_fixtures.py

The masks of chats are those of `apply_chat_template(return_assistant_tokens_mask=True)`. Prompts with completions, and
texts, are turned into tokens as TRL's `SFTTrainer` does it: with the end token behind them, and the tokens of the
prompt alone masked.
"""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

FIXTURES = Path(__file__).parent.parent / "tests/conversation/fixtures"
CORPUS = [
    "What is 4 plus 5? It is 9. And 6? Then it is 15. You are brief. The user asks the assistant.",
    "Grüße aus Köln! Wie geht es dir heute? Sehr gut, danke. 日本語 Да нет", "hello there, hello world \n\n hello",
] * 3
# Marked with `generation`, so that masks can be made; the other template is the same without marks.
MARKED = (
    "{%- for message in messages %}\n"
    "    {{- '<|im_start|>' + message.role + '\\n' }}\n"
    "    {%- if message.role == 'assistant' %}\n"
    "        {%- generation %}\n"
    "            {{- message.content + '<|im_end|>' }}\n"
    "        {%- endgeneration %}\n"
    "        {{- '\\n' }}\n"
    "    {%- else %}\n"
    "        {{- message.content + '<|im_end|>\\n' }}\n"
    "    {%- endif %}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "    {{- '<|im_start|>assistant\\n' }}\n"
    "{%- endif %}\n"
)
PLAIN = MARKED.replace("        {%- generation %}\n", "").replace("        {%- endgeneration %}\n", "")
SPECIAL = ["<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>"]


def token(text):
    return AddedToken(text, special=True, normalized=False)


def byte_level():
    """GPT-2's kind: byte-level, its own places of tokens without the space in front."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=[token(s) for s in SPECIAL], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def pieces():
    """Llama's kind: a space in front, bytes for unknown characters, a first token."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = [token(s) for s in SPECIAL] + [AddedToken(f"<0x{byte:02X}>", normalized=False) for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=special)
    tokenizer.train_from_iterator([text[:90] for text in CORPUS], trainer)
    # The bytes are pieces of the model, and not tokens that are looked for in texts.
    config = json.loads(tokenizer.to_str())
    config["added_tokens"] = [added for added in config["added_tokens"] if added["content"] in SPECIAL]
    tokenizer = Tokenizer.from_str(json.dumps(config))
    first = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", first)])
    return tokenizer


def chats():
    user, answer = lambda text: {"role": "user", "content": text}, lambda text: {"role": "assistant", "content": text}
    yield [user("What is 4 plus 5?"), answer("It is 9.")]
    yield [{"role": "system", "content": "You are brief."}, user("hello"), answer("hello there"), user("And 6?"), answer(" 15.\n")]
    yield [user("Grüße 😀👩‍👩‍👧 aus Köln"), answer("👩‍👩‍👧 e\u0301 cafe\u0301 日本語")]
    yield [user("e"), answer("\u0301x")]
    yield [user("a\n\n"), answer("\n\n  \n")]
    yield [user("х" * 30), answer("🇩🇪🇯🇵" * 5)]


def rows():
    yield {"prompt": "What is 4 plus 5?", "completion": " It is 9."}
    yield {"prompt": "hello\n", "completion": "Grüße 😀"}
    yield {"prompt": "Да", "completion": "\n日本語 e\u0301"}
    yield {"prompt": "hello", "completion": "</s>"}
    yield {"text": "hello there, hello world"}
    yield {"text": " 👩‍👩‍👧\n\ncafe\u0301 "}
    yield {"text": "hello</s>"}


def reference(tokenizer):
    cases = []
    for messages in chats():
        tokens = tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True, chat_template=MARKED)
        labels = [i if kept else -100 for i, kept in zip(tokens["input_ids"], tokens["assistant_masks"])]
        cases.append({"row": {"messages": messages}, "ids": tokens["input_ids"], "labels": labels})
    for row in rows():
        ended = lambda text: text if text.endswith(tokenizer.eos_token) else text + tokenizer.eos_token
        masked = 0
        if "text" in row:
            ids = tokenizer(ended(row["text"]))["input_ids"]
        else:
            prompt = tokenizer(row["prompt"])["input_ids"]
            ids = tokenizer(row["prompt"] + ended(row["completion"]))["input_ids"]
            assert ids[: len(prompt)] == prompt, f"a token joins {row}"
            masked = len(prompt)
        cases.append({"row": row, "ids": ids, "labels": [-100] * masked + ids[masked:]})
    return cases


def parquet():
    chat = pyarrow.table({
        "messages": [messages for messages in chats()][:3],
        "id": [1, 2, None],
    })
    pyarrow.parquet.write_table(chat, FIXTURES / "messages.parquet", compression="snappy", row_group_size=2)
    alpaca = pyarrow.table({"instruction": ["Add.", "Sing."], "input": ["4, 5", None], "output": ["9", "La 😀"]})
    pyarrow.parquet.write_table(alpaca, FIXTURES / "alpaca.parquet", compression="gzip")
    text = pyarrow.table({"text": ["hello"], "score": [0.5]})
    pyarrow.parquet.write_table(text, FIXTURES / "zstd.parquet", compression="zstd")


def main():
    for name, tokenizer in [("bytes", byte_level()), ("pieces", pieces())]:
        folder = FIXTURES / name
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(folder / "tokenizer.json"))
        config = {"bos_token": "<s>", "eos_token": {"content": "</s>", "special": True}, "chat_template": PLAIN}
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
        (folder / "marked.jinja").write_text(MARKED)
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
        lines = [json.dumps(case, ensure_ascii=False) for case in reference(fast)]
        (folder / "expected.jsonl").write_text("\n".join(lines) + "\n")
    parquet()


main()
