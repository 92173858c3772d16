"""As many rows at a time as a device has memory for, found out by failing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from spark_imgdedup.errors import DeviceError
from spark_imgdedup.models.base import FEWEST

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class Halves:
    """How many rows go through a model at once: halved whenever its device runs out of memory, and never raised."""

    def __init__(self, free: Callable[[], None]) -> None:
        """Without a limit at first.

        Args:
            free: Lets go of memory that is held for later.
        """
        self._free = free
        self._most: int | None = None

    def run(self, n: int, work: Callable[[int], Result]) -> Result:
        """What `work(size)` gives for the largest size up to `n` that memory suffices for.

        Raises:
            DeviceError: it does not suffice for two rows.
        """
        import torch

        while True:
            size = n if self._most is None else min(n, self._most)
            try:
                return work(size)
            except torch.OutOfMemoryError as error:
                reason = " ".join(str(error).split())[:200]
            # Only here is the error gone, and with it the frames that hold tensors.
            self._most = self._halved(size, reason)
            self._free()

    @staticmethod
    def _halved(size: int, reason: str) -> int:
        if size <= FEWEST:
            raise DeviceError(
                f"The GPU has not memory enough for {FEWEST} images at a time: {reason}. Set embed.precision to bf16, "
                "take a smaller embed.model, or see that nothing else uses this GPU (nvidia-smi)."
            )
        half = max(FEWEST, (size + 1) // 2)
        log.warning(
            "the GPU ran out of memory with %d images at a time: %d from now on. embed.batch_size: %d avoids the try",
            *(size, half, half),
        )
        return half
