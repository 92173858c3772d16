"""Tars of JPEGs that weigh and compress like photographs, made on the spot, and their images as records."""

from __future__ import annotations

import io
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat, takewhile
from pathlib import Path

import numpy as np
from PIL import Image

from spark_imgdedup.files.tars.gather import open_tar
from spark_imgdedup.files.tars.shards import Shard, iter_samples
from spark_imgdedup.models.stream import ImageRecord

# Of each octave of noise: cells across the picture, and levels of 255.
OCTAVES = ((8, 60), (40, 30), (160, 18), (640, 9))
QUALITY = 90


def picture(seed, width, height):
    """Noise in octaves, as photographs have it: much in large shapes, less in small ones."""
    rng = np.random.default_rng(seed)
    total = np.full((height, width, 3), 128, np.float32)
    for cells, levels in OCTAVES:
        across, down = min(cells, width), max(1, min(cells, width) * height // width)
        noise = rng.integers(0, 256, (down, across, 3), np.uint8)
        shape = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        total += (np.asarray(shape, np.float32) - 128) * (levels / 128)
    return Image.fromarray(np.clip(total, 0, 255).astype(np.uint8))


def jpeg(seed, width, height):
    file = io.BytesIO()
    picture(seed, width, height).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def make_tars(folder, n_images, n_tars, size, n_threads):
    """Paths of tars with n_images pictures in all, and their mean bytes."""
    with ThreadPoolExecutor(n_threads) as pool:
        files = list(pool.map(lambda seed: jpeg(seed, *size), range(n_images)))
    paths = [Path(folder) / f"{number:03}.tar" for number in range(n_tars)]
    for number, path in enumerate(paths):
        with tarfile.open(path, "w") as tar:
            for seed in range(number, n_images, n_tars):
                info = tarfile.TarInfo(f"{seed:06}.jpg")
                info.size = len(files[seed])
                tar.addfile(info, io.BytesIO(files[seed]))
    return paths, sum(map(len, files)) / n_images


def records(paths, *, forever=False):
    """The images of the tars, read as the package reads them."""
    for path in chain.from_iterable(repeat(paths)) if forever else paths:
        shard = Shard(str(path), path.stem, path.stat().st_size, "")
        with open_tar(shard, {}) as tar:
            for sample in iter_samples(tar, lambda member: member.is_image):
                yield ImageRecord(f"{shard.name}/{sample.key}", shard.name, sample.key, sample.members[0].data)


def until(items, deadline):
    """Those that are asked for before time.perf_counter() is there."""
    return takewhile(lambda _: time.perf_counter() < deadline, items)
