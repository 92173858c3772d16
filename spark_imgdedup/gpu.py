"""Which processor a task may use, and how arrays get there and back. Spark decides; the code follows."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import logging
import os
import sys
from typing import Any, Literal

import numpy as np

from spark_imgdedup.errors import DeviceError

log = logging.getLogger(__name__)


def task_cpus() -> int:
    """CPU cores of this Spark task (spark.task.cpus); outside of a task OMP_NUM_THREADS, else all cores it may use."""
    context = _task_context()
    if context is not None:
        return max(1, int(context.cpus()))
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdigit() and int(limit) > 0:
        return int(limit)
    return machine_cores()


def machine_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def task_device(requested: Literal["auto", "cpu", "gpu"]) -> str:
    """The device for this task: "cpu" or "cuda:<index among the visible devices>".

    A GPU that Spark assigned to the task comes first. Where Spark assigns none (local mode cannot), visible GPUs are
    shared out by partition. Without either, "auto" is the CPU, said once in the log of each process.

    Raises:
        DeviceError: "gpu" was requested and there is none, or Spark assigned one that CUDA does not see.
    """
    if requested == "cpu":
        return "cpu"
    context = _task_context()
    address = _assigned_address(context)
    n_devices = device_count()
    if address is not None:
        index = _visible_index(address, n_devices)
        if index is not None:
            return f"cuda:{index}"
        problem = (
            f"Spark assigned GPU '{address}' to this task, but CUDA sees {n_devices} devices "
            f"(CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')!r}). Check the driver on this worker"
        )
    elif n_devices:
        return f"cuda:{(context.partitionId() if context is not None else 0) % n_devices}"
    else:
        problem = "Spark assigned no GPU to this task, and CUDA sees none"
    if requested == "gpu":
        raise DeviceError(
            f"{problem}. Set spark.task.resource.gpu.amount and spark.executor.resource.gpu.amount, or embed.device to "
            "'cpu' or 'auto'."
        )
    _log_once(f"running on the CPU: {problem}")
    return "cpu"


def array_device(requested: Literal["auto", "cpu", "gpu"]) -> str:
    """The device for this task's arrays: that of `task_device`, but "cpu" where CuPy is not installed.

    Raises:
        DeviceError: as `task_device`.
    """
    device = task_device(requested)
    return device if device != "cpu" and _has_cupy(device) else "cpu"


@functools.cache
def device_count() -> int:
    """CUDA devices that this process sees, asked of the driver: no torch, no CuPy, no nvidia-smi.

    The driver itself honours CUDA_VISIBLE_DEVICES.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def to_device(array: np.ndarray[Any, Any], device: str) -> Any:
    """A CuPy array on a "cuda:<index>" device; the same NumPy array on "cpu", or where CuPy is not installed.

    The device stays the current one of this thread: kernels make arrays beside those that they are given, and CuPy
    makes them on the current device, which is the first GPU of the machine until somebody says otherwise.
    """
    if device == "cpu" or not _has_cupy(device):
        return array
    import cupy

    cupy.cuda.Device(int(device.partition(":")[2] or 0)).use()
    return cupy.asarray(array)


def to_host(array: Any) -> np.ndarray[Any, Any]:
    """A NumPy array of the same values; copies only from a GPU."""
    return np.asarray(array.get() if hasattr(array, "get") else array)


def _has_cupy(device: str) -> bool:
    is_there = importlib.util.find_spec("cupy") is not None
    if not is_there:
        _log_once(f"arrays stay on the CPU although the device is {device}: CuPy is not installed")
    return is_there


def _task_context() -> Any:
    """The running Spark task, or None. A Python worker has imported pyspark already; nobody else pays for it."""
    pyspark = sys.modules.get("pyspark")
    return None if pyspark is None else pyspark.TaskContext.get()


def _assigned_address(context: Any) -> str | None:
    gpu = (context.resources() if context is not None else {}).get("gpu")
    return str(gpu.addresses[0]) if gpu is not None and gpu.addresses else None


def _visible_index(address: str, n_devices: int) -> int | None:
    """CUDA counts the devices of CUDA_VISIBLE_DEVICES from 0; Spark's address may be a number from before that."""
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    index = visible.index(address) if address in visible else int(address) if address.isdigit() else n_devices
    return index if index < n_devices else None


@functools.cache
def _log_once(message: str) -> None:
    log.warning(message)
