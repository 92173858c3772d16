"""Encoders that are ONNX graphs, run by ONNX Runtime: without torch, on CPU or GPU.

ONNX Runtime on a CPU is 2.5 times as fast as eager torch on EfficientNet-Lite0.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from spark_imgdedup.errors import ModelError, first_line
from spark_imgdedup.models.base import EncoderSettings, fingerprint
from spark_imgdedup.models.cpu import cpu_has_int8, cpuinfo
from spark_imgdedup.models.preprocess import Preprocess, to_array
from spark_imgdedup.preprocess import LITE0, LITE0_INT8, PACKAGED

log = logging.getLogger(__name__)

# From 1.31 on, ONNX Runtime's client of Microsoft's telemetry starts while it is imported, on Linux too: it leaves
# files in TMPDIR and the cache folder, and sends what it can. This module is imported before any other of ours that
# imports ONNX Runtime. Source: its docs/Privacy.md, and the files seen.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

LITE0_DIM = 1280
_WEIGHTS = resources.files("spark_imgdedup") / "models" / "weights"
FILES = {spec: _WEIGHTS / f"{spec}.onnx" for spec in PACKAGED}
LITE0_FILE = FILES[LITE0]
# Pictures at once on a CPU: what they become stays in its cache. 8.8 ms a picture and core, and 9.7 at 32.
LITE0_CPU_ROWS = 4
# Source: timm's data configuration of tf_efficientnet_lite0.in1k.
LITE0_PREPROCESS = Preprocess(
    size=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), resize="crop", interpolation="bicubic", crop_pct=0.875
)

INPUT_DTYPES: dict[str, dict[str, np.dtype[Any]]] = {
    "float32": {"tensor(float)": np.dtype(np.float32), "tensor(float16)": np.dtype(np.float16)},
    "uint8": {"tensor(uint8)": np.dtype(np.uint8)},
}
QUIET = 3  # ONNX Runtime's severity of errors


def load_onnx(settings: EncoderSettings) -> OnnxEncoder:
    """The encoder of spec onnx:<path>; settings.preprocess says what its graph wants.

    Raises:
        ModelError: the file is missing or no graph, or the graph does not take what preprocess makes.
    """
    path = Path(settings.model.removeprefix("onnx:")).expanduser()
    if settings.preprocess is None:
        raise ModelError(
            f"'{settings.model}' needs embed.preprocess: an ONNX file does not say how to resize and scale. "
            "Set its size, layout, dtype, mean, std, resize and interpolation."
        )
    return OnnxEncoder(path, settings, settings.preprocess)


def load_lite0(settings: EncoderSettings) -> OnnxEncoder:
    """An encoder that comes with the package: EfficientNet-Lite0's pooled features, 1280 numbers.

    They are computed in float32, or in integers: these on the CPU, wherever other models run.

    Raises:
        ModelError: `preprocess` is set, or this CPU would compute other integers than those that the weights are for.
    """
    if settings.preprocess not in (None, LITE0_PREPROCESS):
        raise ModelError(
            f"'{settings.model}' knows its own preprocessing: remove embed.preprocess, or use onnx:<path>."
        )
    if settings.model == LITE0_INT8:
        require_int8_products()
        settings = replace(settings, device="cpu")
    # In a zip (--py-files) the weights are no file until they are unpacked; a session holds them after that.
    with resources.as_file(FILES[settings.model]) as path:
        return OnnxEncoder(path, settings, LITE0_PREPROCESS, LITE0_CPU_ROWS)


def require_int8_products() -> None:
    """Refuse an x86 CPU whose products of bytes saturate: it would give other vectors than its neighbours in a cluster.

    Source: ONNX Runtime's page on quantization, which names VNNI.

    Raises:
        ModelError: it has no VNNI.
    """
    if not cpu_has_int8(cpuinfo()):
        raise ModelError(
            f"'{LITE0_INT8}' needs a CPU with VNNI (Intel since 2019, AMD since Zen 4), which this one has not: its "
            f"products of bytes saturate, and give other vectors. Set embed.model to {LITE0}."
        )


class OnnxEncoder:
    """A graph with one image input (B, 3, H, W) or (B, H, W, 3), and an output (B, dim)."""

    def __init__(self, path: Path, settings: EncoderSettings, how: Preprocess, cpu_rows: int | None = None) -> None:
        self.name = settings.model
        self._how = how
        self._session = open_session(path, settings)
        self._input, self._dtype = _checked_input(self._session, how, path)
        batch = self._input.shape[0]
        self._fixed_batch: int | None = batch if isinstance(batch, int) else None
        self._step = self._fixed_batch or (cpu_rows if settings.device == "cpu" else None)
        self._output = _embedding_output(self._session, path)
        self.fingerprint = fingerprint({"kind": "onnx", "preprocess": how.model_dump()}, [path])
        dim = self._output.shape[1]
        self.dim: int = dim if isinstance(dim, int) else self._probe_dim()
        if settings.precision != "fp32":
            log.warning("precision %s has no effect on %s: an ONNX graph brings its own", settings.precision, self.name)

    def preprocess(self, image: Image.Image) -> np.ndarray[Any, Any]:
        """One RGB picture as the graph's input, without its batch axis."""
        return to_array(image, self._how)

    def encode(self, batch: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """(B, ...) preprocessed pictures -> (B, dim) float32. A graph of fixed batch size is fed in padded parts."""
        if not len(batch):
            return np.empty((0, self.dim), np.float32)
        step = self._step or len(batch)
        parts = [self._run(batch[start : start + step]) for start in range(0, len(batch), step)]
        return np.concatenate(parts)

    def _run(self, part: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        n = len(part)
        if self._fixed_batch and n < self._fixed_batch:
            part = np.concatenate([part, np.repeat(part[-1:], self._fixed_batch - n, axis=0)])
        part = np.ascontiguousarray(part, dtype=self._dtype)
        (embeddings,) = self._session.run([self._output.name], {self._input.name: part})
        return np.asarray(embeddings[:n], dtype=np.float32)

    def _probe_dim(self) -> int:
        return int(self._run(self.preprocess(Image.new("RGB", (8, 8)))[None]).shape[1])


def open_session(path: Path, settings: EncoderSettings) -> Any:
    """An ONNX Runtime session on the device and threads of `settings`.

    Raises:
        ModelError: there is no such file, ONNX Runtime is missing, or the file is no ONNX graph.
    """
    if not path.is_file():
        raise ModelError(f"There is no ONNX file at '{path}'. Give the path of a file that every worker can read.")
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise ModelError(f"'{settings.model}' needs onnxruntime: pip install 'spark-imgdedup[onnx]'.") from error

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = max(1, settings.n_threads), 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave the CPU to decoding
    options.log_severity_level = QUIET
    try:
        session = ort.InferenceSession(str(path), options, providers=_providers(ort, settings.device))
    except Exception as error:  # ONNX Runtime has an exception type for each status and no common base
        raise ModelError(f"'{path}' cannot be loaded as an ONNX graph: {first_line(error)}") from error
    if settings.device != "cpu" and "CUDAExecutionProvider" not in session.get_providers():
        log.warning(
            "%s runs on the CPU although the device is %s: install onnxruntime-gpu and the CUDA libraries it names",
            settings.model,
            settings.device,
        )
    return session


def _providers(ort: Any, device: str) -> list[Any]:
    if device == "cpu" or "CUDAExecutionProvider" not in ort.get_available_providers():
        return ["CPUExecutionProvider"]
    return [("CUDAExecutionProvider", {"device_id": int(device.partition(":")[2] or 0)}), "CPUExecutionProvider"]


def _checked_input(session: Any, how: Preprocess, path: Path) -> tuple[Any, np.dtype[Any]]:
    """The graph's only input, if preprocess makes what it takes."""
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise ModelError(
            f"'{path}' has {len(inputs)} inputs, but an image encoder has one: export the image tower alone."
        )
    wanted = {"NCHW": [3, how.size, how.size], "NHWC": [how.size, how.size, 3]}[how.layout]
    declared = list(inputs[0].shape)
    fits = len(declared) == 4 and all(
        not isinstance(axis, int) or axis == size for axis, size in zip(declared[1:], wanted, strict=True)
    )
    if not fits:
        raise ModelError(
            f"'{path}' takes {declared}, but preprocess makes (B, {', '.join(map(str, wanted))}) "
            f"for layout {how.layout} and size {how.size}. Set embed.preprocess to what the graph takes."
        )
    dtype = INPUT_DTYPES[how.dtype].get(inputs[0].type)
    if dtype is None:
        raise ModelError(
            f"'{path}' takes {inputs[0].type}, but embed.preprocess.dtype is {how.dtype}. Change the dtype."
        )
    return inputs[0], dtype


def _embedding_output(session: Any, path: Path) -> Any:
    outputs = session.get_outputs()
    for output in outputs:
        if len(output.shape) == 2:
            return output
    shapes = ", ".join(f"{output.name} {output.shape}" for output in outputs)
    raise ModelError(f"'{path}' has no output of shape (B, dim), only {shapes}: export the pooled embedding.")
