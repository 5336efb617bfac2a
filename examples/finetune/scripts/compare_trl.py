"""Check that supervised fine-tuning with AdamW takes the steps of TRL's `SFTTrainer`.

    pip install torch transformers peft trl datasets
    python examples/finetune/scripts/compare_trl.py target/debug/finetune

Makes a small Llama with tokenizer, chat template and data in a temporary folder, and one LoRA adapter that both sides
begin with. Every step sees all rows, so that their order does not matter: as one batch, and as four batches whose
gradients are accumulated. Compares the losses of 20 steps, with and without clipping. Ends with an error if one
differs by more than 1e-4.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

STEPS = 20
ROWS = 16
STEP_SIZE = 0.02
TOLERANCE = 1e-4
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ message['content'] }}<|im_end|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def conversations(count):
    """Short conversations, some of two turns, with answers of different lengths."""
    rows = []
    for n in range(count):
        a, b = n % 5, n // 5
        messages = [
            {"role": "user", "content": f"What is {a} and {b}?"},
            {"role": "assistant", "content": f"It is {a + b}." + " Surely." * (n % 3)},
        ]
        if n % 4 == 0:
            messages += [
                {"role": "user", "content": "And one more?"},
                {"role": "assistant", "content": f"{a + b + 1}"},
            ]
        rows.append({"messages": messages})
    return rows


def make(folder):
    rows = conversations(ROWS + 4)
    data = folder / "data"
    data.mkdir()
    for name, part in [("train", rows[:ROWS]), ("valid", rows[ROWS:ROWS + 2]), ("test", rows[ROWS + 2:])]:
        (data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    texts = [message["content"] for row in rows for message in row["messages"]]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", bos_token="<|im_start|>", pad_token="<|endoftext|>",
    )
    tokenizer.chat_template = TEMPLATE
    base = folder / "base"
    tokenizer.save_pretrained(base)

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=True, initializer_range=0.2,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(base)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM")
    get_peft_model(model, lora).save_pretrained(folder / "adapter")
    return rows[:ROWS], tokenizer


class Recorder(SFTTrainer):
    """Notes the loss of every batch, which logs round."""

    def compute_loss(self, *args, **kwargs):
        result = super().compute_loss(*args, **kwargs)
        loss = result[0] if isinstance(result, tuple) else result
        self.noted.append(loss.item())
        return result


def with_trl(folder, rows, tokenizer, accumulation, clip):
    model = LlamaForCausalLM.from_pretrained(folder / "base", dtype=torch.float32)
    model = PeftModel.from_pretrained(model, folder / "adapter", is_trainable=True)
    config = SFTConfig(
        output_dir=folder / "trl", per_device_train_batch_size=ROWS // accumulation,
        gradient_accumulation_steps=accumulation, num_train_epochs=STEPS, learning_rate=STEP_SIZE,
        lr_scheduler_type="constant", weight_decay=0.01, max_grad_norm=clip or 0.0, assistant_only_loss=True,
        packing=False, bf16=False, fp16=False, use_cpu=True, report_to="none", save_strategy="no", seed=1,
        optim="adamw_torch", max_length=1024, gradient_checkpointing=False, disable_tqdm=True,
    )
    trainer = Recorder(
        model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
    )
    trainer.noted = []
    trainer.train()
    noted = trainer.noted
    assert len(noted) == STEPS * accumulation, len(noted)
    # Batches of a step are divided by the tokens of all of them.
    return [sum(noted[step * accumulation:(step + 1) * accumulation]) for step in range(STEPS)]


def with_finetune(program, folder, accumulation, clip):
    out = folder / f"runs-{accumulation}-{clip}"
    command = [
        program, "--task", "chat", "--data", folder / "data", "--model", folder / "base", "--adapter-from",
        folder / "adapter", "--method", "adamw", "--step-size", STEP_SIZE, "--schedule", "constant", "--batch",
        ROWS // accumulation, "--gradient-accumulation", accumulation, "--epochs", STEPS, "--out", out,
    ]
    if clip:
        command += ["--clip-norm", clip]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return json.loads((out / "adamw-seed1/run.json").read_text())["losses"]


def main():
    program = Path(sys.argv[1]).resolve()
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        rows, tokenizer = make(folder)
        for accumulation, clip in [(1, None), (1, 0.5), (4, None), (4, 0.5)]:
            theirs = with_trl(folder, rows, tokenizer, accumulation, clip)
            ours = with_finetune(program, folder, accumulation, clip)
            difference = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
            worst = max(worst, difference)
            print(
                f"{accumulation} batches a step, clipped to {clip}: losses {theirs[0]:.4f} to {theirs[-1]:.4f}, "
                f"largest difference {difference:.1e}"
            )
    if not worst < TOLERANCE:
        sys.exit(f"expected differences below {TOLERANCE}")


if __name__ == "__main__":
    main()
