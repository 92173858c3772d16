"""These tests compare with torch, open_clip and timm themselves; without torch they are not collected.

The folder must not be called torch: pytest puts tests/models on the path, and `import torch` would find it there.
"""

import importlib.util
import tarfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from spark_imgdedup.kernels.bounds import ImageError
from spark_imgdedup.kernels.images import decode_image

if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["test_*.py"]


def pytest_collection_modifyitems(items):
    here = __file__.removesuffix("conftest.py")
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.torch)


@pytest.fixture(scope="session")
def pictures():
    """Smooth colour fields with shapes on them, in sizes from small to large and both orientations."""
    return [_picture(seed) for seed in range(8)]


@pytest.fixture(scope="session")
def photographs():
    """Every third picture of a sample shard, in the sizes that they have."""
    shard = Path(__file__).parents[3] / "examples" / "shards" / "photos-00000.tar"
    found = []
    with tarfile.open(shard) as tar:
        for member in [member for member in tar if member.name.endswith(".jpg")][::3]:
            with suppress(ImageError):  # some are damaged
                found.append(decode_image(tar.extractfile(member).read(), max_pixels=10**7).image)
    return found


def _picture(seed):
    rng = np.random.default_rng(seed)
    width, height = (int(side) for side in rng.integers(90, 700, 2))
    coarse = rng.integers(0, 256, (int(rng.integers(2, 9)), int(rng.integers(2, 9)), 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, r = rng.integers(0, width), rng.integers(0, height), rng.integers(5, 80)
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)((x - r, y - r, x + r, y + r), fill=colour)
    return image
