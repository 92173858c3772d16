"""Copying and computing side by side on one CUDA device; on a CPU one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class Streams:
    """The streams of one CUDA device; on a CPU everything happens at once, and in order.

    Attributes:
        device: As torch names it.
        is_cuda: Whether there are any streams.
    """

    def __init__(self, device: str) -> None:
        import torch

        self.device = torch.device(device)
        self.is_cuda = self.device.type == "cuda"
        self._copy: Any = torch.cuda.Stream(self.device) if self.is_cuda else None
        self._compute: Any = torch.cuda.Stream(self.device) if self.is_cuda else None
        self._decode: Any = torch.cuda.Stream(self.device) if self.is_cuda else None
        if self.is_cuda:
            torch.cuda.synchronize(self.device)  # what is there so far, such as weights, came by another stream

    @contextmanager
    def copying(self) -> Iterator[None]:
        """What is done within goes to the stream of copies."""
        with current(self.device, self._copy):
            yield

    @contextmanager
    def computing(self) -> Iterator[None]:
        """What is done within goes to the stream of the model."""
        with current(self.device, self._compute):
            yield

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """What is done within goes to a stream that nothing else waits in."""
        with current(self.device, self._decode):
            yield

    def hand_over(self, tensors: Iterable[torch.Tensor]) -> None:
        """Let the model's stream wait for what the others were given so far; it reads these tensors of theirs."""
        if self.is_cuda:
            self._compute.wait_stream(self._copy)
            self._compute.wait_stream(self._decode)
            for tensor in tensors:
                tensor.record_stream(self._compute)

    def to_host(self, tensor: torch.Tensor) -> torch.Tensor:
        """The same numbers in the host's memory, once what is marked afterwards is done."""
        import torch

        found = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=self.is_cuda)
        return found.copy_(tensor, non_blocking=True)

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
