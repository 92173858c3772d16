"""Image encoders by name. Runs without Spark; torch and ONNX Runtime are imported when an encoder is built."""

from __future__ import annotations

from spark_imgdedup.models.base import Encoder, EncoderSettings
from spark_imgdedup.models.preprocess import Preprocess
from spark_imgdedup.models.registry import (
    cached_encoder,
    embedding_dim,
    fetch_model,
    load_encoder,
    measured_for,
    recommended_eps,
    require_known,
)

__all__ = [
    "Encoder",
    "EncoderSettings",
    "Preprocess",
    "cached_encoder",
    "embedding_dim",
    "fetch_model",
    "load_encoder",
    "measured_for",
    "recommended_eps",
    "require_known",
]
