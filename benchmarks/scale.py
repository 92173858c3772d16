"""What 10⁷ to 10⁹ images take, worked out from constants that were measured; and how well that fits measured runs.

    python benchmarks/scale.py            prints the tables of docs/scale.md
    python benchmarks/scale.py --write    writes them there

Constants come from results/*.json of two cores, but for FIXED, from a run of 290 images. A step's seconds are what it
costs at any size (jobs of a warm session), what an image costs on a core, of hashes what it costs beside each other
image, its matrix products at the share of sgemm that the kernels reach, and never less than its bytes at the rate of
the store. What one task does alone is not divided by the cores.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

from growth import product_flops
from steps import RESULTS

from spark_imgdedup.kernels.kmeans import auto_n_clusters, sample_rows_for

PAGE = Path(__file__).parents[1] / "docs/scale.md"

DIM = 1280  # of the default model
IMAGE_BYTES = 100_000
ROW_BYTES = 300  # of an image's row beside its vector: ids, digests, hashes, sizes
MEMBER_BYTES = 2 * 28 * 17  # of an image's hashes, its own and its mirror's, in each band
MARK_BYTES = 60  # of an image's id, its file and its row, which meet the ids of copies
SHARE_REMOVED = 0.3
# A machine, and what a store gives it: 10 Gbit/s.
CORES, STORE_BYTES = 16, 1.0e9
TRAINING_THREADS = 1  # spark.task.cpus
# Of the kernels, see results/kernels.json; and how much more auto compares than home, see results/recall.json.
ASSIGN_SHARE, PAIR_SHARE, PLAN = 0.74, 0.60, 1.5
# Mean of clusters that are not all of one size: N²/(2K) times this were compared at 10⁶.
SKEW = 1.15
# Seconds at any size of steps that growth.py does not run.
FIXED = {"embed": 5.0, "detect": 1.0, "remove": 2.0}


def result(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


@dataclass(frozen=True)
class Constants:
    """Measured, of one core."""

    embed: float  # seconds an image
    detect: float
    detect_beside: float  # seconds an image and each other image
    collapse: float  # seconds an image whose exact copies are marked
    search: float  # cluster, pairwise and identify, outside products
    remove: float  # seconds a byte
    fixed: dict[str, float]  # seconds of a step at any size
    flops: float  # of sgemm a second

    @classmethod
    def measured(cls) -> Constants:
        """Those of results/."""
        embed, remove, growth, near = (result(name) for name in ("embed", "remove", "growth", "near_hashes"))
        collapsed = result("collapsed")
        few, many = collapsed["sizes"][-2:]
        first, middle, last = growth["sizes"]
        of_core = growth["cores"]
        search = (last["cpu_outside"] - middle["cpu_outside"]) / (last["rows"] - middle["rows"])
        at_once = next(value for name, value in remove.items() if name.startswith(f"{remove['cores']} "))
        return cls(
            embed=of_core / embed["images_per_second"]["embed step"],
            detect=near["of_a_core"]["linear"],
            detect_beside=near["of_a_core"]["quadratic"],
            collapse=collapsed["cores"]
            * (many["seconds"]["marks"] - few["seconds"]["marks"])
            / (many["images"] - few["images"]),
            search=search,
            remove=remove["cores"] / (at_once["a third leaves"]["MB_per_s"] * 1e6),
            fixed=FIXED | first["outside"],
            flops=last["sgemm_gflops"]["of_a_core_second"] * 1e9,
        )


@dataclass(frozen=True)
class Step:
    """What a step takes: seconds, and bytes."""

    name: str
    seconds: float
    read: float
    shuffled: float
    written: float
    memory: float  # of the largest task

    @property
    def n_bytes(self) -> float:
        """All that goes to the store or comes from it."""
        return self.read + self.shuffled + self.written


def search(n: int, dim: int, cores: int, constants: Constants, comparisons: float | None = None) -> dict[str, float]:
    """Seconds of cluster, pairwise and identify, their bytes left aside."""
    n_clusters = auto_n_clusters(n, dim)
    pairs = SKEW * PLAN * n * n / (2 * n_clusters) if comparisons is None else comparisons
    train, assign, compare = product_flops(n_clusters, n, dim, pairs)
    rows = constants.search * n / cores
    return {
        "cluster": constants.fixed["cluster"]
        + 0.4 * rows
        + train / (ASSIGN_SHARE * constants.flops * TRAINING_THREADS)
        + assign / (ASSIGN_SHARE * constants.flops * cores),
        "pairwise": constants.fixed["pairwise"] + 0.5 * rows + compare / (PAIR_SHARE * constants.flops * cores),
        "identify": constants.fixed["identify"] + 0.1 * rows,
    }


def detect(n: int, cores: int, constants: Constants) -> float:
    """Seconds of detect, its bytes left aside."""
    return constants.fixed["detect"] + (constants.detect + constants.detect_beside * n) * n / cores


def steps(n: int, machines: int, constants: Constants) -> list[Step]:
    """Of the default run over `n` images in tars."""
    cores, store = machines * CORES, machines * STORE_BYTES
    of_search = search(n, DIM, cores, constants)
    n_clusters = auto_n_clusters(n, DIM)
    sample = sample_rows_for(n, n_clusters, DIM) if n_clusters > 1 else 0
    vectors, images, rows = 4.0 * DIM * n, float(IMAGE_BYTES) * n, float(ROW_BYTES) * n
    kept = (1 - SHARE_REMOVED) * images

    found = [
        Step("embed", constants.fixed["embed"] + constants.embed * n / cores, images, 0, vectors + rows, 0.6e9),
        Step("detect", detect(n, cores, constants), rows, rows + MEMBER_BYTES * n, 0.1 * rows, 0.5e9),
        Step(
            "cluster",
            of_search["cluster"] + constants.collapse * n / cores,
            2 * vectors,
            4.0 * DIM * sample + MARK_BYTES * n,
            vectors,
            4.0 * DIM * sample + 0.3e9,
        ),
        Step("pairwise", of_search["pairwise"], PLAN * vectors, 0, 40.0 * n, 0.9e9),
        Step("identify", of_search["identify"], 40.0 * n, 80.0 * n, 60.0 * SHARE_REMOVED * n, 0.6e9),
        Step("remove", constants.fixed["remove"] + constants.remove * images / cores, images, 40.0 * n, kept, 0.1e9),
    ]
    return [replace(each, seconds=max(each.seconds, each.n_bytes / store)) for each in found]


def in_words(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def in_bytes(n: float) -> str:
    for size, unit in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return "-"


def estimate_table(machines: int, constants: Constants) -> list[str]:
    lines = ["| images | step | time | read | shuffled | written | a task's memory |", "|--:|---|--:|--:|--:|--:|--:|"]
    for power in (7, 8, 9):
        found = steps(10**power, machines, constants)
        for place, each in enumerate(found):
            size = f"10{'⁰¹²³⁴⁵⁶⁷⁸⁹'[power]}" if not place else ""
            amounts = (each.read, each.shuffled, each.written, each.memory)
            lines.append(
                f"| {size} | {each.name} | {in_words(each.seconds)} | " + " | ".join(map(in_bytes, amounts)) + " |"
            )
        lines.append(f"| | **all** | **{in_words(sum(each.seconds for each in found))}** | | | | |")
    return lines


def checks(constants: Constants) -> list[tuple[str, float, float]]:
    """(what was run, its seconds by the formula, its seconds as measured)."""
    found = []
    growth = result("growth")
    for size in growth["sizes"]:
        parts = search(size["rows"], growth["dim"], growth["cores"], constants, size["comparisons"])
        found.append(
            (f"search, {size['rows']:,} x {growth['dim']}", sum(parts.values()), sum(size["seconds"].values()))
        )
    for name in ("dedup_half", "dedup_half_1m"):
        run = result(name)
        ours = run["ours"]["home"]
        pairs = ours["counts"]["pairwise"]["comparisons"]
        parts = search(run["rows"], run["dim"], run["cores"], constants, pairs)
        found.append((f"search, {run['rows']:,} x {run['dim']}", sum(parts.values()), ours["seconds_in_all"]))
    near = result("near_hashes")
    for size in near["sizes"]:
        n = size["images"]
        found.append((f"detect, {n:,} images", detect(n, near["cores"], constants), sum(size["seconds"].values())))
    return found


def check_table(constants: Constants) -> list[str]:
    lines = ["| run, two cores | by the formula | measured | ratio |", "|---|--:|--:|--:|"]
    for name, formula, measured in checks(constants):
        lines.append(f"| {name} | {formula:.1f} s | {measured:.1f} s | {formula / measured:.2f} |")
    return lines


def constants_table(constants: Constants) -> list[str]:
    per_core = [
        ("an image in `embed`, 640 pixels wide", f"{constants.embed * 1e3:.1f} ms", "embed.json"),
        ("an image in `detect`", f"{constants.detect * 1e6:.0f} µs", "near_hashes.json"),
        ("and beside each million others", f"{constants.detect_beside * 1e12:.0f} µs", "near_hashes.json"),
        (
            "an image in `cluster`, `pairwise` and `identify`, outside products",
            f"{constants.search * 1e6:.0f} µs",
            "growth.json",
        ),
        ("an image whose exact copies are marked", f"{constants.collapse * 1e6:.0f} µs", "collapsed.json"),
        ("a GB of tars in `remove`", f"{constants.remove * 1e9:.1f} s", "remove.json"),
        ("products, float32", f"{constants.flops / 1e9:.0f} Gflop/s", "growth.json"),
    ]
    lines = ["| of one core | | from benchmarks/results |", "|---|--:|---|"]
    return lines + [f"| {name} | {value} | `{source}` |" for name, value, source in per_core]


def tables() -> dict[str, list[str]]:
    constants = Constants.measured()
    return {
        "constants": constants_table(constants),
        "checks": check_table(constants),
        "100 machines": estimate_table(100, constants),
    }


def written(text: str) -> str:
    """The page with its tables as they are now."""
    for name, lines in tables().items():
        block = f"<!-- {name}: written by benchmarks/scale.py -->\n\n" + "\n".join(lines) + "\n\n<!-- end -->"
        text, n = re.subn(rf"<!-- {name}: written by .*?<!-- end -->", lambda _, b=block: b, text, flags=re.DOTALL)
        if n != 1:
            raise SystemExit(f"{PAGE} has {n} places for the table '{name}'.")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        PAGE.write_text(written(PAGE.read_text()))
    for name, lines in tables().items():
        print(f"\n{name}", *lines, sep="\n")


if __name__ == "__main__":
    main()
