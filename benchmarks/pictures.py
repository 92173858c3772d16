"""Real embeddings for benchmarks/recall.py: pictures of some folders, as they are and in edits, by the own encoder.

Ours come from the Debian packages openclipart-png and tuxpaint-stamps-default, unpacked with dpkg -x.

    python benchmarks/pictures.py --roots FOLDER … --out FILE.npz [--pictures 2000]
"""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from make_test_embeddings import EDITS, embed

EDITS_TAKEN = ("as-is", "crop90", "bright")
LEAST_BYTES = 4_000  # smaller files are icons and near-uniform pictures
MOST_PIXELS = 20_000_000
BATCH = 256  # pictures held at once
SEED = 10


def opened(paths):
    """Each picture of at most MOST_PIXELS."""
    for path in paths:
        with suppress(Image.DecompressionBombError), Image.open(path) as image:
            if image.width * image.height <= MOST_PIXELS:
                yield image.convert("RGBA")


def variants(paths):
    """Each picture on white, in each edit."""
    for rgba in opened(paths):
        picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
        picture.thumbnail((512, 512))
        for edit in EDITS_TAKEN:
            yield EDITS[edit](picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--roots", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=2_000)
    given = parser.parse_args()
    found = sorted(path for root in given.roots for path in root.rglob("*.png") if path.is_file())
    large = [path for path in found if path.stat().st_size >= LEAST_BYTES]
    order = np.random.default_rng(SEED).permutation(len(large))[: given.pictures]
    parts, batch = [], []
    for picture in variants(large[place] for place in order):
        batch.append(picture)
        if len(batch) == BATCH:
            parts.append(embed(batch))
            batch = []
    vectors = np.concatenate([*parts, *([embed(batch)] if batch else [])])
    np.savez_compressed(given.out, vectors=vectors.astype(np.float16))
    print(
        f"{given.out}: {len(vectors)} vectors of {len(vectors) // len(EDITS_TAKEN)} pictures, of {len(large)} there are"
    )


if __name__ == "__main__":
    main()
