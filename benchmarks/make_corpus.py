"""A corpus whose repeats are known, from a pool of real pictures: sources x 18 edits, distractors, 40 plain pictures.

    python benchmarks/real_pictures.py --roots FOLDER ... --out POOL
    python benchmarks/evidence.py --pool POOL --mirrored
    python benchmarks/make_corpus.py --pool POOL --out DIR [--sources 124] [--distractors 600] [--not NUMBERS.txt]

Originals are taken in the random order of the pool, at most one where two are near each other in either mirror
orientation: a cosine of at least NEAR_COSINE, or hashes within NEAR_BITS. That leaves pairs that a setting may take for
copies, which is what is measured; `--not` names pictures that a person found to be copies of others all the same.

DIR/shards/*.tar and DIR/truth.csv: key, shard, member, group, role, transform, expect, width, height, bytes, sha256. Of
the plain pictures every fourth has one exact copy.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import random
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from edits import EDITS, jpeg, plain_pictures
from evidence import Arrays
from PIL import Image

from spark_imgdedup.kernels.hashes import hamming_distances

NEAR_COSINE = 0.80
NEAR_BITS = 8  # of 64
LEAST_DETAIL = 10  # of 100: plainer pictures are made, see edits.plain_pictures
LEAST_SIDE = 200  # pixels, of a source
PER_SHARD = 250
SEED = 11
COLUMNS = ("key", "shard", "member", "group", "role", "transform", "expect", "width", "height", "bytes", "sha256")


@dataclass(frozen=True)
class Item:
    """One image of the corpus."""

    group: str
    role: str
    transform: str
    extension: str
    data: bytes


def originals(pool: Path, most: int, left_out: set[int]) -> list[tuple[int, tuple[int, int]]]:
    """Numbers and sizes of pictures that are not near each other, in the order of the pool."""
    with (pool / "pictures.csv").open(newline="") as table:
        tiles = {int(row["number"]) for row in csv.DictReader(table) if row["piece"] == "tile"}
    found = np.load(pool / "evidence.npz")
    data = {name: found[name] for name in found.files}
    kept: list[int] = []
    for number, detail in enumerate(data["detail"]):
        if detail < LEAST_DETAIL or number in tiles or number in left_out:
            continue
        if not _near(data, number, kept):
            kept.append(number)
        if len(kept) == most:
            break
    return [(number, tuple(data["size"][number])) for number in kept]


def _near(data: Arrays, number: int, kept: list[int]) -> bool:
    if not kept:
        return False
    own = {name: data[name][number : number + 1] for name in ("hash64", "hash64_mirror", "vector", "vector_mirror")}
    bits = [hamming_distances(own[name], data["hash64"][kept]).min() for name in ("hash64", "hash64_mirror")]
    others = data["vector"][kept].astype(np.float32)
    cosines = [(others @ own[name][0].astype(np.float32)).max() for name in ("vector", "vector_mirror")]
    return bool(min(bits) <= NEAR_BITS or max(cosines) >= NEAR_COSINE)


def items(pool: Path, sources: list[int], distractors: list[int]) -> list[Item]:
    """All images of the corpus, in random order."""
    made = []
    for group, number in enumerate(sources):
        data = _original(pool, number)
        image, chance = Image.open(io.BytesIO(data)).convert("RGB"), random.Random(f"{SEED}/{number}")
        made.append(Item(f"s{group:05d}", "source", "original", "jpg", data))
        made += [Item(f"s{group:05d}", "copy", name, *edit(image, data, chance)) for name, edit in EDITS.items()]
    for group, number in enumerate(distractors):
        made.append(Item(f"d{group:05d}", "distractor", "original", "jpg", _original(pool, number)))
    for group, (name, image) in enumerate(plain_pictures()):
        extension, data = jpeg(image)
        copied = group % 4 == 0
        made.append(Item(f"p-{name}", "source" if copied else "distractor", "original", extension, data))
        made += [Item(f"p-{name}", "copy", "exact", extension, data)] if copied else []
    random.Random(SEED).shuffle(made)
    return made


def _original(pool: Path, number: int) -> bytes:
    return (pool / "images" / f"{number // 1000:03d}" / f"{number:06d}.jpg").read_bytes()


def write(made: list[Item], out: Path) -> None:
    """Shards and their truth."""
    (out / "shards").mkdir(parents=True, exist_ok=True)
    with (out / "truth.csv").open("w", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(COLUMNS)
        for start in range(0, len(made), PER_SHARD):
            shard = f"{start // PER_SHARD:05d}"
            with tarfile.open(out / "shards" / f"{shard}.tar", "w") as tar:
                for place, item in enumerate(made[start : start + PER_SHARD]):
                    writer.writerow(_added(tar, shard, f"{shard}{place:04d}", item))


def _added(tar: tarfile.TarFile, shard: str, key: str, item: Item) -> tuple[str | int, ...]:
    member = f"{key}.{item.extension}"
    info = tarfile.TarInfo(member)
    info.size = len(item.data)
    tar.addfile(info, io.BytesIO(item.data))
    width, height = Image.open(io.BytesIO(item.data)).size
    digest = hashlib.sha256(item.data).hexdigest()
    return (key, shard, member, item.group, item.role, item.transform, "ok", width, height, len(item.data), digest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sources", type=int, default=124)
    parser.add_argument("--distractors", type=int, default=600)
    parser.add_argument("--not", type=Path, dest="left_out", help="numbers of pictures that are not taken")
    given = parser.parse_args()
    left_out = {int(word) for word in given.left_out.read_text().split()} if given.left_out else set()
    chosen = originals(given.pool, given.sources + given.distractors, left_out)
    large = [number for number, size in chosen if min(size) >= LEAST_SIDE]
    sources = large[: given.sources]
    distractors = [number for number, _ in chosen if number not in set(sources)]
    made = items(given.pool, sources, distractors)
    write(made, given.out)
    (given.out / "originals.txt").write_text("\n".join(str(number) for number in sources + distractors) + "\n")
    print(f"{len(made)} images: {len(sources)} sources, {len(distractors)} distractors, 40 plain pictures")


if __name__ == "__main__":
    main()
