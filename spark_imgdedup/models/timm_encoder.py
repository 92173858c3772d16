"""timm models as encoders: their pooled features, with the transform that timm evaluates them with."""

from __future__ import annotations

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
    torch_dtype,
)

# In the order in which timm looks for them.
HUB_NAMES = ("model.safetensors", "pytorch_model.bin")


def load_timm(settings: EncoderSettings) -> Encoder:
    """The pooled features of timm:<name>, with timm's weights, or those of timm:<name>@<checkpoint>.

    Raises:
        ModelError: the model is unknown, its weights are missing, or they do not fit it.
        DeviceError: the device is not there.
    """
    prepare_torch(settings)
    refuse_preprocess(settings)
    timm = require_library("timm", settings.model)
    name, _, checkpoint = settings.model.removeprefix("timm:").partition("@")
    model = _create(timm, settings.model, name)
    if checkpoint:
        weights = Path(checkpoint).expanduser()
        if not weights.is_file():
            raise ModelError(
                f"There is no checkpoint at '{weights}'. Give the path of a file that every worker can read."
            )
    else:
        weights = hub.require_weights(settings.model, *_hub_file(settings.model, model), settings.model_dir)
    _load(timm, settings.model, model, weights)

    config = timm.data.resolve_model_data_config(model)
    model = laid_out(model.to(settings.device, torch_dtype(settings)), settings)
    parts = TorchParts(
        forward=model,
        transform=timm.data.create_transform(**config, is_training=False),
        dim=int(model.num_features if not hasattr(model, "head_hidden_size") else model.head_hidden_size),
        crops=config.get("crop_mode", "center") == "center",
        fingerprint=fingerprint({"kind": "timm", "name": name, "preprocess": config}, [weights]),
    )
    return encoder_for(settings, parts)


def fetch_timm(spec: str, model_dir: Path) -> Path:
    """Download the weights of timm:<name> into model_dir, unless they are there."""
    timm = require_library("timm", spec)
    repo, names = _hub_file(spec, _create(timm, spec, spec.removeprefix("timm:")))
    return hub.find_weights(repo, names, model_dir) or hub.download(spec, repo, names, model_dir)


def _create(timm: Any, spec: str, name: str) -> Any:
    if not timm.is_model(name):
        close = timm.list_models(f"*{name.partition('.')[0]}*")[:3]
        guess = f" Did you mean {' or '.join(close)}?" if close else " timm.list_models() names them."
        raise ModelError(f"timm has no model '{name}'.{guess}")
    try:
        return timm.create_model(name, pretrained=False, num_classes=0)
    except Exception as error:  # an unknown tag is a RuntimeError, other mistakes are what the architecture raises
        raise ModelError(f"'{spec}' cannot be built: {error}") from error


def _hub_file(spec: str, model: Any) -> tuple[str, tuple[str, ...]]:
    config = model.pretrained_cfg
    if not config.get("hf_hub_id"):
        raise ModelError(f"timm has no weights for '{spec}': give a checkpoint, timm:<name>@<path>.")
    name = config.get("hf_hub_filename")
    return str(config["hf_hub_id"]).partition("@")[0], (name,) if name else HUB_NAMES


def _load(timm: Any, spec: str, model: Any, weights: Path) -> None:
    """Load weights, leaving out the classifier, which is the only part that may be left out."""
    try:
        state = timm.models.load_state_dict(str(weights), weights_only=True)
        classifier = model.pretrained_cfg.get("classifier") or ()
        heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
        state = {key: value for key, value in state.items() if not key.startswith(tuple(f"{head}." for head in heads))}
        model.load_state_dict(state)
    except Exception as error:  # unpickling, safetensors and load_state_dict share no base
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"The weights '{weights}' do not fit '{spec}': {type(error).__name__}: {reason}") from error
