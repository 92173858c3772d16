"""The 18 edits whose copies a corpus has, and 40 plain pictures that all differ.

An edit takes the decoded original, its file, and a source of chance, and gives the file of the copy and its extension.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Edit = Callable[[Image.Image, bytes, random.Random], tuple[str, bytes]]
LANCZOS = Image.Resampling.LANCZOS
LETTERS = "ABCDEFGHKLMNPRSTUVWXYZ"


def jpeg(image: Image.Image, quality: int = 92) -> tuple[str, bytes]:
    """Extension and file."""
    return "jpg", _file(image, "JPEG", quality=quality)


def _file(image: Image.Image, kind: str, **how: int) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def _scaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((max(8, round(image.width * factor)), max(8, round(image.height * factor))), LANCZOS)


def _cropped(image: Image.Image, surface: float) -> Image.Image:
    """The centre, without this share of the surface."""
    width, height = (round(side * math.sqrt(1 - surface)) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _written_on(image: Image.Image, chance: random.Random) -> Image.Image:
    """A word in yellow across it, a ninth of the width high."""
    image, word = image.copy(), "".join(chance.choices(LETTERS, k=8))
    place = (image.width * 0.06, image.height * chance.choice((0.08, 0.45, 0.78)))
    font = ImageFont.load_default(max(12, image.width // 9))
    ImageDraw.Draw(image).text(place, word, fill="#ffeb00", font=font, stroke_width=2, stroke_fill="black")
    return image


def _boxed(image: Image.Image) -> Image.Image:
    """On a black square, 1.12 times as wide as its longer side."""
    side = int(max(image.size) * 1.12)
    box = Image.new("RGB", (side, side))
    box.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return box


def _turned(image: Image.Image, degrees: float) -> Image.Image:
    return image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor="white")


EDITS: dict[str, Edit] = {
    "exact": lambda image, file, chance: ("jpg", file),
    "png": lambda image, file, chance: ("png", _file(image, "PNG")),
    "webp": lambda image, file, chance: ("webp", _file(image, "WEBP", quality=80)),
    "jpeg75": lambda image, file, chance: jpeg(image, 75),
    "resize50": lambda image, file, chance: jpeg(_scaled(image, 0.5)),
    "jpeg30": lambda image, file, chance: jpeg(image, 30),
    "bright": lambda image, file, chance: jpeg(ImageEnhance.Brightness(image).enhance(chance.choice((0.65, 1.35)))),
    "crop10": lambda image, file, chance: jpeg(_cropped(image, 0.1)),
    "blur": lambda image, file, chance: jpeg(image.filter(ImageFilter.GaussianBlur(max(image.size) / 200))),
    "gray": lambda image, file, chance: jpeg(ImageOps.grayscale(image)),
    "text": lambda image, file, chance: jpeg(_written_on(image, chance)),
    "jpeg10": lambda image, file, chance: jpeg(image, 10),
    "crop20": lambda image, file, chance: jpeg(_cropped(image, 0.2)),
    "rot5": lambda image, file, chance: jpeg(_turned(image, chance.choice((-5, 5)))),
    "border": lambda image, file, chance: jpeg(_boxed(image)),
    "cd_jpeg30": lambda image, file, chance: jpeg(_scaled(image, 0.25), 30),
    "hflip": lambda image, file, chance: jpeg(ImageOps.mirror(image)),
    "crop50": lambda image, file, chance: jpeg(_cropped(image, 0.5)),
}


def plain_pictures() -> Iterator[tuple[str, Image.Image]]:
    """10 flat colours, 10 gradients, 8 dark frames and 12 pages with a line of text, 480 x 360, each with its name."""
    chance = random.Random(40)
    for number in range(10):
        yield f"colour-{number}", Image.new("RGB", (480, 360), _colour(chance))
    ramp = Image.linear_gradient("L")
    for number in range(10):
        turned = ramp.rotate(90 * (number % 4)).resize((480, 360))
        yield f"gradient-{number}", ImageOps.colorize(turned, _colour(chance), _colour(chance))
    for number in range(8):
        noise = np.random.default_rng(number).normal(6, 1.5, (360, 480, 3)).clip(0, 255).astype(np.uint8)
        frame = Image.fromarray(noise)
        left, top = chance.randrange(300), chance.randrange(200)
        shade = chance.randrange(14, 26)
        ImageDraw.Draw(frame).ellipse((left, top, left + 150, top + 110), fill=(shade, shade, shade + 3))
        yield f"dark-{number}", frame
    for number in range(12):
        page = Image.new("RGB", (480, 640), "white")
        line = f"{number + 1}. " + " ".join("".join(chance.choices(LETTERS, k=5)).lower() for _ in range(4))
        ImageDraw.Draw(page).text((60, 70), line, fill="black", font=ImageFont.load_default(18))
        yield f"page-{number}", page


def _colour(chance: random.Random) -> tuple[int, int, int]:
    return chance.randrange(256), chance.randrange(256), chance.randrange(256)
