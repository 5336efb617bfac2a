"""Exact updates of the K-FAC family where the reference file's own have fewer digits than asked for.

    python exact.py g_mlp_trained.safetensors g_mlp_trained_exact.safetensors

Needs mpmath, numpy and safetensors. Everything from the parameters and inputs of the file on is
computed with 60 digits and rounded once, at the end. Writes the updates from which the file is
further away than half the bar of its λ, and prints all distances.
"""

import sys

import numpy
from mpmath import exp, eye, matrix, mp, mpf, sqrt
from safetensors.numpy import load_file, save_file

mp.dps = 60
LAYERS = ["fc1", "fc2", "fc3"]
BARS = {"1e-12": 1e-5, "1e-7": 1e-9, "1e-3": 1e-9, "1.0": 1e-9}


def each(x, f):
    return matrix([[f(i, j, x[i, j]) for j in range(x.cols)] for i in range(x.rows)])


def exact(case):
    """Every update, as a matrix [out, in (+ 1)]."""
    tensor = lambda name: matrix(numpy.atleast_2d(case[name]).tolist())
    inputs, before = [], []
    x = tensor("input.x")
    for layer in LAYERS:
        inputs.append(x)
        bias = case[f"param.{layer}.bias"]
        y = x * tensor(f"param.{layer}.weight").T
        y = each(y, lambda i, j, v: v + mpf(float(bias[j])))
        before.append(y)
        x = each(y, lambda i, j, v: max(v, mpf(0)))
    logits, samples = before[-1], x.rows
    total = [sum(exp(logits[n, c]) for c in range(logits.cols)) for n in range(samples)]

    def errors(labels):
        """Errors at the outputs of the layers."""
        e = each(logits, lambda n, c, v: exp(v) / total[n] - int(c == labels[n]))
        found = [e]
        for k in (2, 1):
            e = each(
                e * tensor(f"param.{LAYERS[k]}.weight"),
                lambda i, j, v: v if before[k - 1][i, j] > 0 else mpf(0),
            )
            found.insert(0, e)
        return found

    truth, drawn = errors(case["labels"]), errors(case["labels_sampled"])
    s = [sum(e**2 for e in truth[2][n, :]) for n in range(samples)]
    scaled = [each(e, lambda n, j, v: v / sqrt(s[n])) for e in truth]
    updates = {}
    for suffix in ("", "_bias"):
        for k, layer in enumerate(LAYERS):
            rows = inputs[k].tolist()
            a = matrix([row + [mpf(1)] for row in rows] if suffix else rows)
            gradient = truth[k].T * a / samples
            for rule, e in (("ekfac", truth[k]), ("iekfac", scaled[k]), ("kfac", drawn[k])):
                factors = (e.T * e / samples, a.T * a / samples)
                for lam in BARS:
                    root = sqrt(mpf(float(lam)))
                    b_inverse, a_inverse = ((f + root * eye(f.rows)) ** -1 for f in factors)
                    name = f"{rule}{suffix}.lam_{lam}.{layer}"
                    updates[name] = b_inverse * gradient * a_inverse
    return updates


def distance(found, expected):
    off = sum((mpf(float(found[i, j])) - expected[i, j]) ** 2
              for i in range(expected.rows) for j in range(expected.cols))
    return float(sqrt(off / sum(v**2 for v in expected)))


def main(source, target):
    case = load_file(source)
    kept = {}
    for name, expected in exact(case).items():
        off = distance(case[name], expected)
        print(f"{name} {off:.2e}")
        if off > BARS[name.split("lam_")[1].rsplit(".", 1)[0]] / 2:
            kept[name] = numpy.array(expected.tolist(), dtype=numpy.float64)
    save_file(kept, target)
    print(f"{len(kept)} kept")


if __name__ == "__main__":
    main(*sys.argv[1:])
