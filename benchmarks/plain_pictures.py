"""Forty pictures with little in them, no two of which are copies: the ones that hashes and vectors confuse.

Ten flat colours, ten gradients, eight dark frames (black but for a faint shape and noise), twelve white pages with one
line of text in one place. Drawn here, so that tests and benchmarks have them without data.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 320
COLOURS = ("white", "black", "gray", "silver", "red", "darkred", "blue", "green", "gold", "ivory")
# From one corner or side to the other: (angle in degrees, first colour, last colour); None is from the middle outward.
GRADIENTS = (
    (0, (0, 0, 0), (255, 255, 255)),
    (90, (0, 0, 0), (255, 255, 255)),
    (45, (0, 0, 0), (255, 255, 255)),
    (0, (20, 40, 120), (200, 220, 255)),
    (90, (20, 40, 120), (200, 220, 255)),
    (90, (120, 40, 20), (255, 220, 200)),
    (0, (255, 0, 0), (0, 0, 255)),
    (90, (250, 250, 250), (200, 200, 200)),
    (None, (255, 255, 255), (40, 40, 60)),
    (None, (30, 30, 50), (240, 240, 255)),
)
LINES = (
    "Chapter One",
    "Chapter Two",
    "Chapter Ten",
    "Contents",
    "This page is intentionally left blank",
    "Appendix A: tables of results",
    "Appendix B: lists of sources",
    "Invoice no. 10027",
    "Invoice no. 10031",
    "Acknowledgements",
    "For my parents, who read everything",
    "Thank you for your attention",
)


def plain_pictures() -> dict[str, Image.Image]:
    """All forty by name, e.g. "colour-0", "gradient-3", "dark-7", "page-11"."""
    pictures = {f"colour-{n}": Image.new("RGB", (SIDE, 240), colour) for n, colour in enumerate(COLOURS)}
    pictures |= {f"gradient-{n}": gradient(*given) for n, given in enumerate(GRADIENTS)}
    pictures |= {f"dark-{n}": dark_frame(n) for n in range(8)}
    return pictures | {f"page-{n}": page(line) for n, line in enumerate(LINES)}


def gradient(angle: float | None, first: tuple[int, int, int], last: tuple[int, int, int]) -> Image.Image:
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    along = np.hypot(x, y) if angle is None else x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle))
    share = ((along - along.min()) / np.ptp(along))[..., None]
    return Image.fromarray(np.rint(np.array(first) * (1 - share) + np.array(last) * share).astype(np.uint8))


def dark_frame(number: int) -> Image.Image:
    """Black, with a faint spot of its own place and size, and noise of a standard deviation of 1.5 levels."""
    rng = np.random.default_rng(number)
    (x0, y0), spread, height = rng.uniform(-0.7, 0.7, 2), rng.uniform(0.15, 0.5), rng.uniform(8, 20)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    spot = height * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * spread**2))
    noisy = 3 + spot + rng.normal(0, 1.5, spot.shape)
    return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)).convert("RGB")


def page(line: str) -> Image.Image:
    image = Image.new("RGB", (600, 800), "white")
    ImageDraw.Draw(image).text((80, 120), line, font=ImageFont.load_default(22), fill=(20, 20, 20))
    return image
