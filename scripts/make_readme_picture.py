"""Draw docs/images/duplicates.png: pairs that the demo found, a few of each kind of edit.

spark-imgdedup demo
python scripts/make_readme_picture.py --work spark-imgdedup-demo/work
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from spark_imgdedup.config import InputConfig
from spark_imgdedup.files import storage
from spark_imgdedup.files.shards import iter_samples, list_shards, sample_id
from spark_imgdedup.files.tar_stream import DamagedTarError, TarStream
from spark_imgdedup.report.contact_sheet import PicturePair, contact_sheet

ROOT = Path(__file__).resolve().parents[1]
TRANSFORMS = {
    "crop10": "a tenth cropped",
    "text": "text laid over",
    "bright": "brighter",
    "gray": "without its colours",
    "resize50": "half the size",
    "jpeg30": "JPEG quality 30",
    "webp": "encoded as WebP",
    "exact": "the same bytes",
}
# Pairs of each kind, in the order of TRANSFORMS: the edits that show come first, and more often.
PLACES = ("crop10", "text", "bright", "gray", "crop10", "text", "bright", "resize50", "gray", "jpeg30", "webp", "exact")


def main() -> None:
    """Read the duplicates, choose pairs, draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "spark-imgdedup-demo" / "work", help="work_dir of the demo")
    parser.add_argument("--shards", type=Path, default=ROOT / "examples" / "shards")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "duplicates.png")
    arguments = parser.parse_args()
    found = pq.read_table(
        arguments.work / "duplicates", columns=["image_id", "max_id", "kept_id", "cosine_sim_score"]
    ).to_pylist()
    chosen = choose(found, read_truth(arguments.shards / "truth.csv"))
    contact_sheet(with_images(chosen, arguments.shards), arguments.out)
    with Image.open(arguments.out) as sheet:  # a third of the bytes in 256 colours, and no difference to the eye
        sheet.quantize(256, kmeans=2).save(arguments.out, optimize=True)
    print(f"{arguments.out}: {len(chosen)} pairs, {arguments.out.stat().st_size / 1000:.0f} kB")


def read_truth(path: Path) -> dict[str, dict[str, str]]:
    """The rows of truth.csv by image_id."""
    with path.open(newline="", encoding="utf-8") as file:
        return {row["image_id"]: row for row in csv.DictReader(file)}


def choose(found: list[dict[str, str]], truth: dict[str, dict[str, str]]) -> list[tuple[dict[str, str], str]]:
    """Pairs of a source and its copy, one of each group, photographs first."""
    by_transform: dict[str, list[tuple[dict[str, str], str]]] = defaultdict(list)
    removed = {row["image_id"] for row in found}
    kept_links = (row for row in found if row["max_id"] not in removed)
    for row in sorted(kept_links, key=lambda row: (truth[row["max_id"]]["group"], row["image_id"])):
        ends = truth[row["image_id"]], truth[row["max_id"]]
        copies = [end["transform"] for end in ends if end["role"] == "copy"]
        if len(copies) == 1:  # one end is the source, so the transform names the whole difference
            by_transform[copies[0]].append((row, ends[0]["group"]))
    chosen: list[tuple[dict[str, str], str]] = []
    groups: set[str] = set()
    for transform in PLACES:
        fresh = next(((row, group) for row, group in by_transform[transform] if group not in groups), None)
        if fresh is not None:
            groups.add(fresh[1])
            chosen.append((fresh[0], TRANSFORMS[transform]))
    return chosen


def with_images(chosen: list[tuple[dict[str, str], str]], shards: Path) -> list[PicturePair]:
    """The pairs with the bytes of their images, as they lie in the tars."""
    wanted = {row[column] for row, _ in chosen for column in ("image_id", "max_id")}
    images: dict[str, bytes] = {}
    for shard in list_shards(InputConfig(path=str(shards))):
        with storage.open_read(shard.url) as stream:
            try:
                for sample in iter_samples(TarStream(stream), lambda member: member.is_image):
                    image_id, _ = sample_id(shard.name, sample)
                    if image_id in wanted:
                        images[image_id] = next(m.data for m in sample.members if m.is_image and m.data is not None)
            except DamagedTarError:
                continue  # one of the sample shards is cut off on purpose
    return [
        PicturePair(
            images[row["image_id"]],
            row["image_id"],
            images[row["max_id"]],
            row["max_id"],
            float(row["cosine_sim_score"]),
            note,
        )
        for row, note in chosen
    ]


if __name__ == "__main__":
    main()
