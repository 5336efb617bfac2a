"""The settings `mlp` and `lora` of `step` in PyTorch: whole training steps of SGD, and of iEF by hooks.

The hooks collect each trained layer's inputs and output gradients, as burn-ief's recorded layers
do. From them come the Gram matrix of the per-sample gradients, the solve in f64, and one product
per layer that adds the update to its weight. Both steps take turns in one process.

    python benches/scripts/torch_step.py --setting lora --threads 2
"""

import argparse
import json
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

LR = 1e-3
DAMPING = 1e-3


class Mlp(nn.Module):
    """3072-2048-2048-10 with ReLU and biases."""

    input, classes, batch = (1, 3072), 10, 64

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3072, 2048)
        self.hidden = nn.Linear(2048, 2048)
        self.last = nn.Linear(2048, 10)

    def forward(self, x):
        x = F.relu(self.first(x))
        return self.last(F.relu(self.hidden(x))).squeeze(1)


class Lora(nn.Module):
    """A frozen linear layer with trained factors of rank 8."""

    def __init__(self, width, rank=8):
        super().__init__()
        self.base = nn.Linear(width, width).requires_grad_(False)
        self.down = nn.Linear(width, rank, bias=False)
        self.up = nn.Linear(rank, width, bias=False)
        nn.init.normal_(self.up.weight, std=0.05)

    def forward(self, x):
        return self.base(x) + 2.0 * self.up(self.down(x))


class Block(nn.Module):
    def __init__(self, width, heads, inner):
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.query, self.value = Lora(width), Lora(width)
        self.key, self.output = nn.Linear(width, width), nn.Linear(width, width)
        self.norm_feed_forward = nn.LayerNorm(width)
        self.inner, self.outer = nn.Linear(width, inner), nn.Linear(inner, width)

    def attention(self, q, k, v):
        m, t, width = q.shape
        q, k, v = (x.view(m, t, self.heads, -1).transpose(1, 2) for x in (q, k, v))
        if SDPA:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
            mixed = scores.softmax(-1) @ v
        return mixed.transpose(1, 2).reshape(m, t, width)

    def forward(self, x):
        y = self.norm_attention(x)
        x = x + self.output(self.attention(self.query(y), self.key(y), self.value(y)))
        return x + self.outer(F.gelu(self.inner(self.norm_feed_forward(x))))


class Transformer(nn.Module):
    """6 pre-norm blocks of width 384 over 64 positions; LoRA on q and v, all else frozen."""

    input, classes, batch = (64, 384), 4, 32

    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(*(Block(384, 12, 1536) for _ in range(6)))
        self.head = nn.Linear(384, 4)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(".down." in name or ".up." in name)

    def forward(self, x):
        return self.head(self.blocks(x).mean(1))


class Sgd:
    def __init__(self, model, batch):
        self.model, self.batch = model, batch
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(trained, lr=LR)

    def step(self):
        inputs, labels = self.batch
        self.optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(self.model(inputs), labels).backward()
        self.optimizer.step()


class Hooks:
    """iEF: (K + λI) c = s, with K the Gram matrix of the per-sample gradients."""

    def __init__(self, model, batch):
        self.model, self.batch = model, batch
        self.layers = [
            module
            for module in model.modules()
            if isinstance(module, nn.Linear) and module.weight.requires_grad
        ]
        self.rows = {}
        for module in self.layers:
            module.register_forward_hook(self.record)
            # Autograd would form the gradients of the weights: the hooks do instead.
            for parameter in module.parameters():
                parameter.requires_grad_(False)

    def record(self, module, inputs, output):
        x = inputs[0].detach()
        if not output.requires_grad:
            output = output.detach().requires_grad_()
        output.register_hook(lambda error: self.rows.__setitem__(module, (x, error)))
        return output

    def step(self):
        inputs, labels = self.batch
        logits = self.model(inputs)
        loss = F.cross_entropy(logits, labels, reduction="sum")
        (error,) = torch.autograd.grad(loss, logits, retain_graph=True)
        s = (error**2).sum(1).double()
        logits.backward(error)
        with torch.no_grad():
            gram = sum(self.gram(x, e, m.bias is not None) for m, (x, e) in self.rows.items())
            gram = gram.double()
            damping = DAMPING * gram.diagonal().mean()
            identity = torch.eye(len(s), dtype=torch.float64)
            c = torch.linalg.solve(gram + damping * identity, s).float()
            for module, (x, e) in self.rows.items():
                weighted = e * c.view(-1, 1, 1)
                module.weight.addmm_(weighted.flatten(0, 1).T, x.flatten(0, 1), alpha=-LR)
                if module.bias is not None:
                    module.bias.sub_(weighted.sum((0, 1)), alpha=LR)
        self.rows.clear()

    @staticmethod
    def gram(x, e, bias):
        if x.shape[1] == 1:
            inner = x[:, 0] @ x[:, 0].T
            return (inner + 1.0 if bias else inner) * (e[:, 0] @ e[:, 0].T)
        rows = (e.transpose(1, 2) @ x).flatten(1)
        gram = rows @ rows.T
        if bias:
            sums = e.sum(1)
            gram = gram + sums @ sums.T
        return gram


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--setting", choices=["mlp", "lora"], required=True)
    parser.add_argument("--batch", type=int, nargs="*")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--sdpa", action="store_true", help="scaled_dot_product_attention")
    parser.add_argument("--json", help="write the rows here, as a JSON list")
    args = parser.parse_args()
    global SDPA
    SDPA = args.sdpa
    torch.set_num_threads(args.threads)
    kind = {"mlp": Mlp, "lora": Transformer}[args.setting]
    rows = []
    for size in args.batch or [kind.batch]:
        torch.manual_seed(0)
        batch = torch.randn(size, *kind.input), torch.arange(size) % kind.classes
        steps = {"sgd": Sgd(kind(), batch), "hooks": Hooks(kind(), batch)}
        times = {name: [] for name in steps}
        for step in steps.values():
            step.step(), step.step()
        start = time.perf_counter()
        while len(times["sgd"]) < 3 or (
            len(times["sgd"]) < args.rounds and time.perf_counter() - start < args.seconds
        ):
            for name, step in steps.items():
                before = time.perf_counter()
                step.step()
                times[name].append(1e3 * (time.perf_counter() - before))
        for name, each in times.items():
            row = {
                "setting": args.setting,
                "batch": size,
                "method": name,
                "median_ms": round(statistics.median(each), 2),
                "min_ms": round(min(each), 2),
                "rounds": len(each),
                "torch": torch.__version__,
                "threads": args.threads,
                "sdpa": args.sdpa,
            }
            rows.append(row)
            print(json.dumps(row))
    if args.json:
        with open(args.json, "w") as file:
            json.dump(rows, file, indent=2)
            file.write("\n")


if __name__ == "__main__":
    main()
