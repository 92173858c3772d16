"""The eps at which 95 % of the pairs that an encoder calls duplicates are, on corpora whose repeats are known.

    python benchmarks/recommend_eps.py --corpus DIR [DIR ...] [--model efficientnet-lite0]
    python benchmarks/recommend_eps.py --corpus DIR --model timm:tf_efficientnet_lite1@lite1.safetensors
    python benchmarks/recommend_eps.py --corpus DIR --model onnx:sscd.onnx --name sscd_disc_mixup
        --preprocess '{size: 288, layout: NHWC, dtype: uint8, resize: squash, interpolation: bilinear}'

Every pair of images of a corpus is compared; pairs of several corpora are counted together. What was measured of other
encoders stays in results/recommended_eps.json, and the table of docs/encoders.md is written again from that file.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import yaml
from corpus import Corpus

from spark_imgdedup.kernels.images import decode_image
from spark_imgdedup.kernels.vectors import l2_normalize
from spark_imgdedup.models import EncoderSettings, Preprocess, load_encoder

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results" / "recommended_eps.json"
PAGE = FOLDER.parent / "docs" / "encoders.md"
BEGIN, END = "<!-- recommended eps: begin -->", "<!-- recommended eps: end -->"

PRECISION = 0.95
LEVELS = 1000  # eps is looked at in steps of 0.001
MAX_PIXELS = 89_478_485

BATCH = 32  # images in a model call
BLOCK = 1024  # images compared with all others at once

# Names as results/recommended_eps.json has them. What others say of an encoder, and what makes its row doubtful.
CLIP = "open_clip:ViT-L-14-quickgelu/openai"
PUBLISHED = {
    "sscd_disc_mixup": "0.25 on DISC, where 90 % of such pairs are copies (SSCD's README)",
    "open_clip:ViT-B-16/openai": "at 0.03 half of LAION-440M has a duplicate; no precision given "
    "([SemDeDup](https://arxiv.org/abs/2303.09540))",
    CLIP: "0.01 in NeMo Curator's examples; no precision given",
}
NOT_MEASURED = ("open_clip:ViT-B-16/openai", CLIP)


def embed(corpus: Corpus, settings: EncoderSettings) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) unit vectors of a corpus, and for each the number of its group."""
    encoder = load_encoder(settings)
    groups, vectors, batch = [], [], []
    for row, data in corpus.images():
        groups.append(row["group"])
        batch.append(encoder.preprocess(decode_image(data, max_pixels=MAX_PIXELS).image))
        if len(batch) == BATCH:
            vectors.append(encoder.encode(np.stack(batch)))
            batch.clear()
    if batch:
        vectors.append(encoder.encode(np.stack(batch)))
    return l2_normalize(np.concatenate(vectors)), np.unique(groups, return_inverse=True)[1]


def count_pairs(vectors: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(LEVELS + 1, 2) pairs that eps = level / LEVELS is the first to call duplicates: of two groups, and of one."""
    counts = np.zeros((LEVELS + 1, 2), np.int64)
    for start in range(0, len(vectors), BLOCK):
        rows = slice(start, start + BLOCK)
        cosines = np.round(vectors[rows] @ vectors.T, 6)
        earlier = np.arange(len(vectors)) < np.arange(start, start + len(cosines))[:, None]
        levels = np.ceil(np.round((1 - cosines[earlier]) * LEVELS, 3)).astype(int).clip(0, LEVELS)
        same = (groups[rows, None] == groups)[earlier]
        for of_one_group in (0, 1):
            counts[:, of_one_group] += np.bincount(levels[same == of_one_group], minlength=LEVELS + 1)
    return counts


def recommend(counts: np.ndarray) -> dict[str, float | int]:
    """The largest eps of 0.01, 0.02, … whose precision is enough, with what it finds."""
    false, true = np.cumsum(counts, axis=0).T
    precision, recall = true / np.maximum(true + false, 1), true / true[-1]
    enough = np.flatnonzero((precision >= PRECISION) & (true > 0))
    step = LEVELS // 100
    level = int(enough[-1]) if len(enough) else 0
    level -= level % step
    return {
        "eps": level / LEVELS,
        "precision": round(float(precision[level]), 4),
        "recall": round(float(recall[level]), 4),
        "average_precision": round(float((np.diff(recall, prepend=0) * precision).sum()), 4),
        "pairs_called": int(true[level] + false[level]),
    }


def measure(corpora: list[Corpus], settings: EncoderSettings) -> dict[str, object]:
    """One encoder on all corpora: what holds for their pairs together, and the eps of each alone."""
    each, n_images, dim = [], 0, 0
    for corpus in corpora:
        vectors, groups = embed(corpus, settings)
        each.append(count_pairs(vectors, groups))
        n_images, dim = n_images + len(vectors), vectors.shape[1]
    alone = [recommend(counts)["eps"] for counts in each]
    return {"dim": dim, **recommend(sum(each)), "eps_of_each_corpus": alone, "images": n_images}


def table(measured: dict[str, dict]) -> str:
    """The measured encoders from the best to the worst, then those of which only others have said something."""
    lines = [
        "| encoder | numbers | eps | recall there | average precision | published by others |",
        "|---|---|---|---|---|---|",
    ]
    best_first = sorted(measured.items(), key=lambda item: -item[1]["average_precision"])
    for name, row in best_first:
        eps = f"{row['eps']:.2f} ({min(row['eps_of_each_corpus']):.2f} to {max(row['eps_of_each_corpus']):.2f})"
        figures = f"{row['dim']} | {eps} | {row['recall']:.2f} | {row['average_precision']:.2f}"
        note = f" ({row['note']})" if row.get("note") else ""
        lines.append(f"| `{name}`{note} | {figures} | {PUBLISHED.get(name, '')} |")
    for name in NOT_MEASURED:
        if name not in measured:
            lines.append(f"| `{name}` | | not measured | | | {PUBLISHED[name]} |")
    return "\n".join(lines)


def read_results() -> dict[str, dict]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def name_of(model: str) -> str:
    """The spec without the folders of a checkpoint or graph, which are those of one machine."""
    return re.sub(r"(^onnx:|@).*/", r"\1", model)


def write_table(measured: dict[str, dict]) -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        sys.exit(f"{PAGE} lacks the lines {BEGIN} and {END}, between which the table goes.")
    PAGE.write_text(f"{before}{BEGIN}\n{table(measured)}\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, nargs="+", default=[])
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--name", help="what to call it in the results; by default the model, without folders")
    parser.add_argument("--note", help="what its reader must know")
    parser.add_argument("--model-dir")
    parser.add_argument("--preprocess", type=yaml.safe_load, help="embed.preprocess of an onnx: model, as YAML")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    if given.corpus:
        preprocess = Preprocess(**given.preprocess) if given.preprocess else None
        settings = EncoderSettings(given.model, given.model_dir, n_threads=given.threads, preprocess=preprocess)
        row = measure([Corpus(folder) for folder in given.corpus], settings)
        print(json.dumps(row, indent=1))
        measured = read_results()
        measured[given.name or name_of(given.model)] = row | ({"note": given.note} if given.note else {})
        RESULTS.write_text(json.dumps(dict(sorted(measured.items())), indent=1) + "\n")
    write_table(read_results())


if __name__ == "__main__":
    main()
