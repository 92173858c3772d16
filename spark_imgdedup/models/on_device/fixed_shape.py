"""A model for batches of one shape, whose input stays where it is, so that CUDA can replay it as one graph."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from spark_imgdedup.errors import first_line

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

# Before a capture libraries must have chosen their kernels and taken their workspaces. Source: torch's notes on CUDA
# graphs, which take 3 for the same.
WARM_UPS = 3

Forward = Callable[["torch.Tensor"], "torch.Tensor"]
Replay = Callable[[], "torch.Tensor"]
Capture = Callable[[Forward, "torch.Tensor"], Replay]


class FixedShape:
    """One model call over and over, on what lies in `pixels`.

    Attributes:
        pixels: (B, …), the input, to be filled before each run.
    """

    def __init__(self, forward: Forward, pixels: torch.Tensor, capture: Capture | None) -> None:
        """Capture the call, or not.

        Args:
            forward: The model, and what is done with its input before.
            pixels: The input.
            capture: `cuda_graph`; None calls `forward` each time, as is done where capturing fails.
        """
        import torch

        self.pixels = pixels
        self._replay: Replay = lambda: forward(pixels)
        if capture is None:
            return
        try:
            self._replay = capture(forward, pixels)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # what cannot be captured is told of by this type alone
            if isinstance(error.__context__, torch.OutOfMemoryError):  # ending the capture failed for that
                raise error.__context__ from None
            log.warning("the model runs without a CUDA graph, since it cannot be captured: %s", first_line(error))

    def run(self) -> torch.Tensor:
        """The output (B, dim) for the pixels as they are now. The next run may write to the same memory."""
        return self._replay()


def cuda_graph(forward: Forward, pixels: torch.Tensor) -> Replay:
    """Capture one call on the current stream, which must not be the device's default one."""
    import torch

    for _ in range(WARM_UPS):
        forward(pixels)
    graph = torch.cuda.CUDAGraph()
    # thread_local: what other threads do, CuPy's among them, is no matter of this capture.
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
        vectors = forward(pixels)

    def replay() -> torch.Tensor:
        graph.replay()
        return vectors

    return replay
