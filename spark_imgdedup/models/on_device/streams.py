"""Copying and computing side by side on one CUDA device; on a CPU one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class Streams:
    """The streams of one device, and nothing on any other.

    Attributes:
        is_cuda: Whether there are any.
    """

    def __init__(self, device: str) -> None:
        import torch

        self._device = torch.device(device)
        self.is_cuda = self._device.type == "cuda"
        self._copy: Any = torch.cuda.Stream(self._device) if self.is_cuda else None
        self._compute: Any = torch.cuda.Stream(self._device) if self.is_cuda else None
        if self.is_cuda:
            torch.cuda.synchronize(self._device)  # what is there so far, such as weights, came by another stream

    @contextmanager
    def copying(self) -> Iterator[None]:
        """What is done within goes to the stream of copies."""
        with current(self._device, self._copy):
            yield

    @contextmanager
    def computing(self) -> Iterator[None]:
        """What is done within goes to the stream of the model."""
        with current(self._device, self._compute):
            yield

    def hand_over(self, tensor: torch.Tensor) -> None:
        """Let the model's stream wait for what was copied so far; it reads `tensor`, which the other one made."""
        if self.is_cuda:
            self._compute.wait_stream(self._copy)
            tensor.record_stream(self._compute)

    def mark(self) -> Callable[[], None]:
        """A function that waits until the model's stream has done what it was given so far."""
        if not self.is_cuda:
            return lambda: None
        import torch

        done = torch.cuda.Event(blocking=True)  # a thread that waits by looking takes a core from those that decode
        done.record(self._compute)
        wait: Callable[[], None] = done.synchronize
        return wait


@contextmanager
def current(device: torch.device, stream: Any = None) -> Iterator[None]:
    """Make a CUDA device the current one, so that a task never touches another's; on a CPU nothing."""
    if device.type != "cuda":
        yield
        return
    import torch

    with torch.cuda.device(device), torch.cuda.stream(stream):
        yield


def empty_cache() -> None:
    """Give back the memory that torch keeps for later, on the current device."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
