"""Writes the references of `replay sft` in this folder, in f64 throughout.

Usage: python reference.py FIXTURES, with the folder `examples/models/tests/fixtures`. Needs torch, transformers, peft
and safetensors. transformers computes norms, rotary angles and (eager) attention weights in f32 even for a model in f64; here all is in f64.
"""
import sys
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM
from transformers.models.llama import modeling_llama
from transformers.models.qwen2 import modeling_qwen2

FIXTURES = Path(sys.argv[1])
HERE = Path(__file__).parent
LAMBDAS = ["1e-3", "1.0"]


def norm(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def rotary(self, x, position_ids):
    half = self.config.head_dim if getattr(self.config, "head_dim", None) else x.shape[-1] // self.config.num_attention_heads
    theta = self.config.rope_parameters["rope_theta"]
    frequencies = theta ** -(torch.arange(0, half, 2, dtype=torch.float64) / half)
    angles = position_ids[..., None].double() * frequencies
    angles = torch.cat([angles, angles], -1)
    return angles.cos(), angles.sin()


for module, name in [(modeling_llama, "Llama"), (modeling_qwen2, "Qwen2")]:
    getattr(module, name + "RMSNorm").forward = norm
    getattr(module, name + "RotaryEmbedding").forward = rotary


def batch(rng, samples):
    """Left padding, right padding, no answer, an ordinary sample."""
    ids = rng.integers(3, 100, (4, 9))
    mask = np.ones_like(ids)
    mask[0, :2], mask[1, 7:] = 0, 0
    labels = np.full_like(ids, -100)
    labels[0, 4:], labels[1, 3:7], labels[3, 2:6] = ids[0, 4:], ids[1, 3:7], ids[3, 2:6]
    drawn = np.where(labels == -100, -100, rng.integers(0, 100, ids.shape))
    # One sample draws what is true.
    drawn[3] = labels[3]
    return [np.ascontiguousarray(x[:samples]) for x in (ids, mask, labels, drawn)]


def rows(model, names, ids, mask, labels):
    params = dict(model.named_parameters())
    jacobian, losses, s = [], [], []
    for n in range(len(ids)):
        # Without padding, at the positions that the tokens have with it.
        seen = np.flatnonzero(mask[n])
        logits = model(input_ids=torch.tensor(ids[n : n + 1, seen]), position_ids=torch.tensor(seen[None])).logits[0, :-1]
        target = torch.tensor(labels[n, seen[1:]])
        logits, target = logits[target != -100], target[target != -100]
        loss = torch.nn.functional.cross_entropy(logits, target, reduction="sum")
        grads = torch.autograd.grad(loss, [params[name] for name in names], allow_unused=True)
        grads = [torch.zeros_like(params[k]) if g is None else g for k, g in zip(names, grads)]
        jacobian.append(torch.cat([g.flatten() for g in grads]).detach().numpy())
        error = logits.softmax(-1) - torch.nn.functional.one_hot(target, logits.shape[-1])
        losses.append(loss.item())
        s.append((error**2).sum().item())
    return np.array(jacobian), np.array(losses), np.array(s)


def write(case, model, samples, seed):
    model = model.double().eval()
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    keys = {name: name.replace(".default", "").replace("modules_to_save.", "") for name in named}
    ids, mask, labels, drawn = batch(np.random.default_rng(seed), samples)
    J, losses, s = rows(model, list(named), ids, mask, labels)
    sampled, _, _ = rows(model, list(named), ids, mask, drawn)
    tokens = (labels[:, 1:] != -100).sum(1)
    out = {
        "input.input_ids": ids, "input.attention_mask": mask, "labels": labels, "labels_sampled": drawn,
        "losses": losses, "s": s, "answer_tokens": tokens, "gram": J @ J.T, "gram_sampled": sampled @ sampled.T,
        "token_mean_loss": np.array([losses.sum() / max(tokens.sum(), 1)]), "grad_norms": np.linalg.norm(J, axis=1),
    }

    def put(prefix, vector):
        at = 0
        for name, p in named.items():
            out[f"{prefix}.{keys[name]}"] = vector[at : at + p.numel()].reshape(p.shape)
            at += p.numel()

    put("grad", J.sum(0))
    for text in LAMBDAS:
        damped = J @ J.T + float(text) * np.eye(samples)
        put(f"ef.lam_{text}", J.T @ np.linalg.solve(damped, np.ones(samples)))
        put(f"ief.lam_{text}", J.T @ np.linalg.solve(damped, s))
        fisher = sampled.T @ sampled + float(text) * np.eye(J.shape[1])
        put(f"sf.lam_{text}", np.linalg.solve(fisher, J.sum(0)))
    metadata = {"lams": '["' + '", "'.join(LAMBDAS) + '"]'}
    save_file({k: np.ascontiguousarray(v) for k, v in out.items()}, HERE / f"{case}.safetensors", metadata)
    print(case, J.shape, losses, s)


def base(folder):
    return AutoModelForCausalLM.from_pretrained(FIXTURES / folder, dtype=torch.float64, attn_implementation="sdpa")


for seed, folder in enumerate(["llama", "qwen2"]):
    model = PeftModel.from_pretrained(base(folder), FIXTURES / folder / "lora", is_trainable=True)
    write(folder, model, 4, seed)

# Adapters of the head and of the embeddings, and a head that trains in full.
torch.manual_seed(1)
for case, folder, samples, settings in [
    ("llama_head", "llama", 4, dict(target_modules=["v_proj", "lm_head", "embed_tokens"])),
    ("llama_saved_head", "llama", 1, dict(target_modules=["v_proj"], modules_to_save=["lm_head"])),
    ("qwen2_tied", "qwen2", 4, dict(target_modules=["v_proj", "embed_tokens"])),
]:
    config = LoraConfig(r=2, lora_alpha=3, task_type="CAUSAL_LM", lora_dropout=0.3, layers_to_transform=None, **settings)
    model = get_peft_model(base(folder), config).double()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn_like(p))
                # The folder holds f32.
                p.copy_(p.float().double())
    adapter = HERE / f"{case}_adapter"
    model.float().save_pretrained(adapter, save_embedding_layers=False)
    (adapter / "README.md").unlink()
    write(case, PeftModel.from_pretrained(base(folder), adapter, is_trainable=True), samples, 7)
