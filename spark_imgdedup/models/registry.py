"""From a spec to an encoder, one per process."""

from __future__ import annotations

import difflib
import importlib.util
import threading
from pathlib import Path

from spark_imgdedup.errors import ModelError
from spark_imgdedup.models.base import Encoder, EncoderSettings
from spark_imgdedup.models.onnx_encoder import LITE0_DIM
from spark_imgdedup.models.plugins import DOTTED_PATH, build, import_class
from spark_imgdedup.preprocess import LITE0, LITE0_INT8, PACKAGED

FORMS = (
    *PACKAGED,
    "open_clip:<arch>/<pretrained>",
    "open_clip:local-dir:<path>",
    "timm:<name>[@<checkpoint>]",
    "onnx:<path>",
    "torchscript:<path>",
    "<package.module>:<Class>",
)
EXAMPLES = (
    *PACKAGED,
    "open_clip:ViT-L-14-quickgelu/openai",
    "timm:resnet50.a1_in1k",
    "onnx:model.onnx",
    "torchscript:model.pt",
)
PREFIXES = ("open_clip", "timm", "onnx", "torchscript")

# The largest cosine distance at which 95 % of the pairs are right. Source: benchmarks/recommend_eps.py. In integers
# that would be 0.24, but 0.22 finds as much as float32 does there, and takes fewer wrong ones (benchmarks/quality.py).
RECOMMENDED_EPS = {LITE0: 0.22, LITE0_INT8: 0.22}

# Up to so many distinct pictures fewer than one in twenty goes wrongly at that eps, by greedy with hashes beside it.
# Wrong pairs grow with the square of the pictures. Source: benchmarks/false_pairs.py, of 18,419; beyond, by that.
MEASURED_FOR = {LITE0: {0.22: 5_000, 0.16: 20_000, 0.1: 50_000, 0.05: 90_000}}

_cache: dict[EncoderSettings, Encoder] = {}
_cache_lock = threading.Lock()


def load_encoder(settings: EncoderSettings) -> Encoder:
    """Build the encoder that settings.model names.

    Specs: efficientnet-lite0 and efficientnet-lite0-int8 (which come with the package), open_clip:<arch>/<pretrained>,
    open_clip:local-dir:<path>, timm:<name>[@<checkpoint>], onnx:<path>, torchscript:<path or URL>, and
    <package.module>:<Class> for one of your own, which is called with the settings and must be an Encoder.

    Raises:
        ModelError: the spec is unknown, a library or weights are missing, or the weights do not fit.
    """
    kind, _, _ = settings.model.partition(":")
    if settings.model in PACKAGED:
        from spark_imgdedup.models.onnx_encoder import load_lite0

        return load_lite0(settings)
    if kind == "onnx":
        from spark_imgdedup.models.onnx_encoder import load_onnx

        return load_onnx(settings)
    if kind == "torchscript":
        from spark_imgdedup.models.torchscript_encoder import load_torchscript

        return load_torchscript(settings)
    if kind == "open_clip":
        from spark_imgdedup.models.clip_encoder import load_clip

        return load_clip(settings)
    if kind == "timm":
        from spark_imgdedup.models.timm_encoder import load_timm

        return load_timm(settings)
    if DOTTED_PATH.fullmatch(settings.model):
        return _load_own(settings)
    raise _unknown(settings.model)


def require_known(spec: str) -> None:
    """Look, without loading anything, whether a spec is one of ours or a class's, and can be had in this process.

    Raises:
        ModelError: there is no such kind of encoder, no such class, or no file or folder that it names.
    """
    kind, _, name = spec.partition(":")
    if spec not in PACKAGED and (kind not in PREFIXES or not name):
        if not DOTTED_PATH.fullmatch(spec) or importlib.util.find_spec(kind.partition(".")[0]) is None:
            raise _unknown(spec)
        import_class(spec, "encoder")
        return
    path = named_file(spec)
    if path is not None and not path.exists():
        raise ModelError(
            f"'{spec}': there is nothing at '{path}'. Give a path that this machine and every worker can read."
        )


def named_file(spec: str) -> Path | None:
    """The local file or folder that a spec names; None where it names none, or a URL."""
    for prefix in ("onnx:", "torchscript:", "open_clip:local-dir:"):
        if spec.startswith(prefix):
            name = spec.removeprefix(prefix)
            return None if "://" in name else Path(name).expanduser()
    path = spec.partition("@")[2] if spec.startswith("timm:") else ""
    return Path(path).expanduser() if path else None


def cached_encoder(settings: EncoderSettings) -> Encoder:
    """The encoder of this process for these settings; another one is dropped first, so that one model is in memory."""
    with _cache_lock:
        if settings not in _cache:
            _cache.clear()
            _cache[settings] = load_encoder(settings)
        return _cache[settings]


def recommended_eps(spec: str) -> float | None:
    """The measured eps of an encoder, as a cosine distance; None where nobody has measured one."""
    return RECOMMENDED_EPS.get(spec)


def measured_for(spec: str, eps: float) -> int | None:
    """For how many pictures this eps, or a larger one, is right with that encoder; None where nobody measured it."""
    levels = MEASURED_FOR.get(spec, {})
    return next((levels[level] for level in sorted(levels) if eps <= level), min(levels.values(), default=None))


def embedding_dim(spec: str) -> int | None:
    """Numbers in an embedding of that encoder, where they are known without loading it."""
    kind, _, name = spec.partition(":")
    if spec in PACKAGED:
        return LITE0_DIM
    if kind == "open_clip" and not name.startswith("local-dir:") and importlib.util.find_spec("open_clip"):
        import open_clip

        known = open_clip.get_model_config(name.partition("/")[0])
        return int(known["embed_dim"]) if known else None
    return None


def fetch_model(spec: str, model_dir: str | Path) -> list[Path]:
    """Download the weights of an encoder into model_dir, for workers that cannot reach a model hub.

    Returns:
        The files, none for encoders that download nothing.

    Raises:
        ModelError: the spec is unknown, or the hub cannot be reached; says where to put a copy made by hand.
    """
    kind, _, name = spec.partition(":")
    if kind == "open_clip" and not name.startswith("local-dir:"):
        from spark_imgdedup.models.clip_encoder import fetch_clip

        return [fetch_clip(spec, Path(model_dir))]
    if kind == "timm" and "@" not in name:
        from spark_imgdedup.models.timm_encoder import fetch_timm

        return [fetch_timm(spec, Path(model_dir))]
    if spec in PACKAGED or kind in PREFIXES or DOTTED_PATH.fullmatch(spec):
        return []
    raise _unknown(spec)


def _load_own(settings: EncoderSettings) -> Encoder:
    package = settings.model.partition(":")[0].partition(".")[0]
    if importlib.util.find_spec(package) is None:
        raise _unknown(settings.model)
    encoder: Encoder = build(settings.model, "encoder", Encoder, lambda factory: factory(settings))
    return encoder


def _unknown(spec: str) -> ModelError:
    kind, _, name = spec.partition(":")
    close = difflib.get_close_matches(spec.lower(), EXAMPLES, n=1)
    prefix = difflib.get_close_matches(kind.lower(), PREFIXES, n=1)
    guess = ""
    if name and prefix:
        guess = f" Did you mean '{prefix[0]}:{name}'?"
    elif close:
        guess = f" Did you mean '{close[0]}'?"
    elif spec.endswith(".onnx"):
        guess = f" Did you mean 'onnx:{spec}'?"
    elif spec.endswith(".pt"):
        guess = f" Did you mean 'torchscript:{spec}'?"
    elif "/" in spec and ":" not in spec:
        guess = f" Did you mean 'open_clip:{spec}'?"
    return ModelError(f"There is no encoder '{spec}'.{guess} An encoder is one of {', '.join(FORMS)}.")
