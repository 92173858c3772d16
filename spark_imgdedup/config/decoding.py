"""Whether the GPU may decode images: only where nothing but the model looks at their pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spark_imgdedup.config.settings import Config

_RESIZED_THERE = ("open_clip:", "timm:")


def problems(config: Config) -> Iterator[str]:
    """What is wrong with embed.decode, one line for each setting that contradicts it."""
    if config.embed.decode == "cpu":
        return
    if config.embed.device != "gpu":
        yield f"embed.decode: 'gpu' needs a GPU, and embed.device is '{config.embed.device}'. Set embed.device to gpu."
    if not config.embed.model.startswith(_RESIZED_THERE):
        yield (
            f"embed.decode: 'gpu' is for open_clip: and timm: models, whose pictures are resized on the GPU; "
            f"'{config.embed.model}' gets them from the CPU. Set embed.decode to cpu."
        )
    if config.detect.hashes:
        yield (
            f"embed.decode: 'gpu' gives other pixels than the CPU, and {' and '.join(sorted(config.detect.hashes))} "
            "hashes are of the CPU's. Set detect.prepass to [], with detect.method embedding, or embed.decode to cpu."
        )
    if config.input.trim_borders:
        yield (
            "embed.decode: 'gpu' leaves no pixels to find borders in. Set input.trim_borders to false, or embed.decode "
            "to cpu."
        )
    if config.embed.pixel_scorers:
        yield (
            f"embed.decode: 'gpu' leaves no pixels for {', '.join(config.embed.pixel_scorers)}. Leave "
            "embed.pixel_scorers out, or set embed.decode to cpu."
        )
