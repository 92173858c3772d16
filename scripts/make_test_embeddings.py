"""Make tests/data/real_embeddings.npz: what the embedded encoder gives for 2,100 variants of the sample images.

    python scripts/make_test_embeddings.py tests/data/real_embeddings.npz

Each readable sample is embedded as it is and in five edits. Then exact copies are added: of one row very many, as of
"image not found" in a crawl, of others one to three. A copy repeats its source's row, so only distinct vectors are
stored: `vectors` (M, 1280) float16 of unit length, `row_of` (N,) int16, and `ids` (N,). Takes one minute on one core.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from spark_imgdedup.config import InputConfig
from spark_imgdedup.files.tars.shards import list_shards
from spark_imgdedup.kernels.bounds import ImageError
from spark_imgdedup.kernels.images import decode_image
from spark_imgdedup.kernels.vectors import l2_normalize
from spark_imgdedup.models import EncoderSettings, load_encoder
from spark_imgdedup.stages.read import iter_images

SAMPLES = Path(__file__).parents[1] / "examples" / "shards"
N_ROWS = 2_100
N_CROWD = 60  # copies of one row
BATCH = 32
SEED = 20


def cut(image: Image.Image, left: float, top: float, side: float) -> Image.Image:
    """The part of a picture that starts at (left, top) and has `side` of its width and height, all as shares."""
    width, height = image.size
    x, y = round(left * width), round(top * height)
    return image.crop((x, y, x + max(1, round(side * width)), y + max(1, round(side * height))))


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "as-is": lambda image: image,
    "mirror": ImageOps.mirror,
    "crop90": lambda image: cut(image, 0.05, 0.05, 0.9),
    "crop60": lambda image: cut(image, 0.0, 0.0, 0.6),
    "bright": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "dark-mirror": lambda image: ImageEnhance.Brightness(ImageOps.mirror(image)).enhance(0.6),
}


def main(target: Path) -> None:
    """Write the file and print its size."""
    ids, pictures = zip(*variants(), strict=True)
    vectors = embed(list(pictures)).astype(np.float16)
    sources = copied_rows(len(ids), N_ROWS - len(ids))
    row_of = np.concatenate([np.arange(len(ids)), sources]).astype(np.int16)
    all_ids = [*ids, *(f"{ids[source]}+{number}" for number, source in enumerate(sources))]
    np.savez_compressed(target, ids=np.array(all_ids), row_of=row_of, vectors=vectors)
    print(f"{target}: {len(all_ids)} rows, {len(ids)} distinct images, {target.stat().st_size / 1e6:.2f} MB")


def variants() -> Iterator[tuple[str, Image.Image]]:
    """(id, picture) of every readable sample in every edit."""
    config = InputConfig(path=str(SAMPLES))
    for shard in list_shards(config):
        for record in iter_images(shard, config):
            try:
                image = decode_image(record.data or b"", max_pixels=config.max_image_pixels).image
            except ImageError:
                continue
            for name, edit in EDITS.items():
                yield f"{record.image_id}#{name}", edit(image)


def embed(pictures: list[Image.Image]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """(N, 1280) float32 rows of unit length."""
    encoder = load_encoder(EncoderSettings("efficientnet-lite0"))
    parts = []
    for start in range(0, len(pictures), BATCH):
        batch = np.stack([encoder.preprocess(picture) for picture in pictures[start : start + BATCH]])
        parts.append(encoder.encode(batch))
    unit: np.ndarray[tuple[int, int], np.dtype[np.float32]] = l2_normalize(np.concatenate(parts))
    return unit


def copied_rows(n_distinct: int, n_copies: int) -> list[int]:
    """Which row each copy repeats: the first of a shuffled order very often, the next ones three, two and one times."""
    order = np.random.default_rng(SEED).permutation(n_distinct).tolist()
    rows = [order[0]] * N_CROWD
    for place, row in enumerate(order[1:]):
        rows += [row] * (3 - place % 3)
    return rows[:n_copies]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
