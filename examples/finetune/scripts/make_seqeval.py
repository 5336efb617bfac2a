"""Write tags of entities and what `seqeval` finds in them: the fixture of `src/metric/entities.rs`.

    pip install seqeval
    python examples/finetune/scripts/make_seqeval.py > examples/finetune/src/metric/seqeval.json

Made with seqeval 1.2.2 (licence MIT).
"""

import json
import random

from seqeval.metrics import f1_score, precision_score, recall_score

random.seed(1)
KINDS = ["PER", "LOC", "MISC-X"]


def tags(letters, length):
    """Tags at random, many of which follow no scheme."""
    all = [f"{letter}-{kind}" for letter in letters for kind in KINDS] + ["O"] * 3
    return [random.choice(all) for _ in range(length)]


def changed(row, letters):
    return [tag if random.random() < 0.7 else tags(letters, 1)[0] for tag in row]


cases = []
for number in range(40):
    letters = "BI" if number < 25 else "BIES"
    truth = [tags(letters, random.randint(1, 9)) for _ in range(random.randint(1, 5))]
    predicted = [changed(row, letters) for row in truth]
    if number == 0:
        predicted = [["O"] * len(row) for row in truth]
    scores = {
        name: float(score(truth, predicted, zero_division=0))
        for name, score in [("precision", precision_score), ("recall", recall_score), ("f1", f1_score)]
    }
    cases.append({"predicted": predicted, "truth": truth, **scores})
print("[")
print(",\n".join(json.dumps(case) for case in cases))
print("]")
