"""What fastdup finds of the repeats planted in larger corpora, and what it removes beside them: `quality.py` of others.

    python benchmarks/fastdup_quality.py --corpus DIR [DIR …] --fastdup PYTHON [--similarity 0.9 0.92 0.96]

fastdup runs in a process and an environment of its own, with its defaults, on the pictures as loose files. Pictures
whose similarity reaches a level are joined to components, as it does itself at 0.96, and of each component the one of
most pixels stays, of these that of most bytes. Its similarities begin at 0.9.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from corpus import Corpus, measures, recalls
from steps import machine, write_result

from spark_imgdedup.kernels.hashes import connected_components
from spark_imgdedup.report.truth import score_run

RUN = """
import fastdup, sys
made = fastdup.create(sys.argv[1], sys.argv[2])
made.run(num_images=0, verbose=False)
made.similarity()[["filename_from", "filename_to", "distance"]].to_csv(sys.argv[3], index=False)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, nargs="+", required=True)
    parser.add_argument("--fastdup", required=True, help="a Python that has it")
    parser.add_argument("--similarity", type=float, nargs="+", default=[0.9, 0.92, 0.94, 0.96])
    arguments = parser.parse_args()
    corpora = {folder.name: measure(Corpus(folder), arguments) for folder in arguments.corpus}
    write_result("fastdup_quality", {"corpora": corpora, "machine": machine()})
    for name, levels in corpora.items():
        for level in levels:
            print(name, {key: value for key, value in level.items() if key != "recall_by_transform"})


def measure(corpus: Corpus, arguments: argparse.Namespace) -> list[dict]:
    with tempfile.TemporaryDirectory() as scratch:
        pictures, truth = Path(scratch, "pictures"), corpus.write_truth(Path(scratch))
        pictures.mkdir()
        sizes, names = [], {}
        for row, data in corpus.images():
            file = f"{len(names):06d}{Path(row['member']).suffix}"
            (pictures / file).write_bytes(data)
            names[file] = len(names)
            sizes.append((int(row["width"]) * int(row["height"]), len(data), row["image_id"]))
        found = Path(scratch, "similarity.csv")
        command = [arguments.fastdup, "-c", RUN, f"{scratch}/work", str(pictures), str(found)]
        subprocess.run(command, check=True, capture_output=True)
        with found.open(newline="") as file:
            pairs = [
                (names[Path(row["filename_from"]).name], names[Path(row["filename_to"]).name], float(row["distance"]))
                for row in csv.DictReader(file)
            ]
        return [{"similarity": level, **scored(truth, sizes, pairs, level)} for level in arguments.similarity]


def scored(truth: Path, sizes: list, pairs: list, level: float) -> dict:
    edges = np.array([pair[:2] for pair in pairs if pair[2] >= level], np.int64).reshape(-1, 2)
    members: dict[int, list[int]] = {}
    for place, component in enumerate(connected_components(len(sizes), edges).tolist()):
        members.setdefault(component, []).append(place)
    removed = {}
    for places in members.values():
        best, *others = sorted(places, key=lambda place: (-sizes[place][0], -sizes[place][1], sizes[place][2]))
        removed |= {sizes[place][2]: sizes[best][2] for place in others}
    score = score_run(truth, removed)
    return {**measures(score, len(removed)), "recall_by_transform": recalls(score)}


if __name__ == "__main__":
    main()
