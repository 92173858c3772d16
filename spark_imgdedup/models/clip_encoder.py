"""CLIP image towers, by open_clip: the production default is open_clip:ViT-L-14-quickgelu/openai, 768 numbers."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from spark_imgdedup.errors import ModelError
from spark_imgdedup.models import hub
from spark_imgdedup.models.base import Encoder, EncoderSettings, fingerprint
from spark_imgdedup.models.on_device.encoder import encoder_for
from spark_imgdedup.models.torch_encoder import (
    TorchParts,
    laid_out,
    prepare_torch,
    refuse_preprocess,
    require_library,
)

LOCAL_DIR = "local-dir:"
CONFIG_NAME = "open_clip_config.json"
# In the order in which open_clip looks for them.
HUB_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
TEXT_PARTS = ("transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection", "text")
PREPROCESS_KEYS = ("mean", "std", "interpolation", "resize_mode")


def load_clip(settings: EncoderSettings) -> Encoder:
    """The image tower of an open_clip model, with open_clip's own validation transform.

    Raises:
        ModelError: the architecture or tag is unknown, the two disagree about QuickGELU, or the weights are missing.
        DeviceError: the device is not there.
    """
    prepare_torch(settings)
    refuse_preprocess(settings)
    open_clip = require_library("open_clip", settings.model)
    name = settings.model.removeprefix("open_clip:")
    if name.startswith(LOCAL_DIR):
        folder = Path(name.removeprefix(LOCAL_DIR)).expanduser()
        weights = _weights_in(folder)
        config = json.loads((folder / CONFIG_NAME).read_text())["model_cfg"]
        identity: dict[str, Any] = {"kind": "open_clip", "config": config}
        made = _create(open_clip, settings, f"{LOCAL_DIR}{folder}", {})
    else:
        arch, tag, known = _parse(open_clip, settings.model)
        weights = _require_weights(open_clip, settings.model, known, settings.model_dir) if known else Path(tag)
        config = open_clip.get_model_config(arch)
        identity = {"kind": "open_clip", "arch": arch}
        options = {f"image_{key}": known[key] for key in PREPROCESS_KEYS if key in known}
        made = _create(open_clip, settings, arch, {"pretrained": str(weights), **options})

    model, transform = made
    how = dict(model.visual.preprocess_cfg)
    parts = TorchParts(
        forward=model.encode_image,
        transform=transform,
        dim=int(config["embed_dim"]),
        crops=how.get("resize_mode", "shortest") == "shortest",
        fingerprint=fingerprint({**identity, "preprocess": how}, [weights]),
    )
    return encoder_for(settings, parts)


def fetch_clip(spec: str, model_dir: Path) -> Path:
    """Download the weights of open_clip:<arch>/<pretrained> into model_dir, unless they are there."""
    open_clip = require_library("open_clip", spec)
    _, tag, known = _parse(open_clip, spec)
    if not known:
        return Path(tag)
    found = _find(known, model_dir)
    if found is not None:
        return found
    model_dir.mkdir(parents=True, exist_ok=True)
    return _download(open_clip, spec, known, model_dir)


def _create(open_clip: Any, settings: EncoderSettings, name: str, options: dict[str, Any]) -> tuple[Any, Any]:
    try:
        model, _, transform = open_clip.create_model_and_transforms(
            name, precision=settings.precision, device=settings.device, pretrained_text=False, **options
        )
    except Exception as error:  # torch and open_clip raise whatever is at hand for weights that do not fit
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"'{settings.model}' cannot be loaded: {type(error).__name__}: {reason}") from error
    for part in TEXT_PARTS:  # half of the memory of a CLIP model, never used here
        if hasattr(model, part):
            delattr(model, part)
    return laid_out(model, settings), transform


def _parse(open_clip: Any, spec: str) -> tuple[str, str, dict[str, Any]]:
    """Architecture, tag or file, and what open_clip knows of the tag (nothing of a file)."""
    arch, slash, tag = spec.removeprefix("open_clip:").partition("/")
    if not slash or not tag:
        raise ModelError(
            f"'{spec}' lacks its weights: write open_clip:<arch>/<pretrained>, e.g. {arch or 'ViT-B-32'}/openai."
        )
    config = open_clip.get_model_config(arch)
    if config is None:
        close = difflib.get_close_matches(arch, open_clip.list_models(), n=3)
        guess = f" Did you mean {' or '.join(close)}?" if close else " open_clip.list_models() names them."
        raise ModelError(f"open_clip has no architecture '{arch}'.{guess}")
    known = dict(open_clip.get_pretrained_cfg(arch, tag))
    if known:
        _require_same_activation(open_clip, arch, tag, bool(config.get("quick_gelu")), bool(known.get("quick_gelu")))
    elif not Path(tag).is_file():
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(arch)) or "none"
        raise ModelError(f"open_clip has no weights '{tag}' for {arch}, and there is no such file. Its tags: {tags}.")
    return arch, tag, known


def _require_same_activation(open_clip: Any, arch: str, tag: str, model_quick: bool, weights_quick: bool) -> None:
    """open_clip only warns, and then computes other embeddings than the weights were trained for."""
    if model_quick == weights_quick:
        return
    other = f"{arch}-quickgelu" if weights_quick else arch.removesuffix("-quickgelu")
    has, have = ("without", "with") if weights_quick else ("with", "without")
    remedy = f"Use open_clip:{other}/{tag}." if other in open_clip.list_models() else f"Use other weights than '{tag}'."
    raise ModelError(f"{arch} is built {has} QuickGELU, but the weights '{tag}' were trained {have} it. {remedy}")


def _weights_in(folder: Path) -> Path:
    """The weights of a folder in open_clip's format, as open_clip picks them."""
    if not (folder / CONFIG_NAME).is_file():
        raise ModelError(f"'{folder}' is no folder in open_clip's format: it has no {CONFIG_NAME}.")
    from open_clip.factory import _find_checkpoint_in_dir

    found = _find_checkpoint_in_dir(folder)
    if found is None:
        raise ModelError(f"'{folder}' has no weights: put {HUB_NAMES[0]} beside its {CONFIG_NAME}.")
    return Path(found)


def _hub_file(known: dict[str, Any]) -> tuple[str, tuple[str, ...]] | None:
    """Repository and file names; open_clip writes "org/repo/file", or "org/repo/" for its default names."""
    repo, _, file = str(known.get("hf_hub", "")).rpartition("/")
    if not repo:
        return None
    if not file:
        return repo, HUB_NAMES
    stem, dot, suffix = file.rpartition(".")
    return repo, ((f"{stem}.safetensors", file) if dot and suffix in {"bin", "pth"} else (file,))


def _find(known: dict[str, Any], model_dir: Path) -> Path | None:
    source = _hub_file(known)
    if source is not None:
        return hub.find_weights(*source, model_dir)
    path = model_dir / Path(known["url"]).name
    return path if path.is_file() else None


def _require_weights(open_clip: Any, spec: str, known: dict[str, Any], model_dir: str | None) -> Path:
    source = _hub_file(known)
    if source is not None:
        return hub.require_weights(spec, *source, model_dir)
    if model_dir is None:
        return _download(open_clip, spec, known, None)
    path = _find(known, Path(model_dir))
    if path is None:
        raise hub.missing(spec, known["url"], Path(model_dir) / Path(known["url"]).name)
    return path


def _download(open_clip: Any, spec: str, known: dict[str, Any], model_dir: Path | None) -> Path:
    source = _hub_file(known)
    if source is not None:
        return hub.download(spec, *source, model_dir)
    try:
        return Path(open_clip.download_pretrained(known, cache_dir=str(model_dir) if model_dir else None))
    except (OSError, RuntimeError) as error:
        where = (model_dir or Path("<model_dir>")) / Path(known["url"]).name
        raise hub.unreachable(spec, known["url"], where, error) from error
