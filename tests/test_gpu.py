"""Devices and cores, with the environment of a machine without a GPU and stand-ins for what Spark hands to a task."""

import importlib.util
import logging
import os
import subprocess
import sys
import types
from types import SimpleNamespace

import numpy as np
import pytest

from spark_imgdedup import gpu
from spark_imgdedup.errors import DeviceError


@pytest.fixture
def task(monkeypatch):
    """Spark's TaskContext is made by a running task only; this one answers as it does."""

    def start(addresses=(), partition=0, cpus=2, devices=0):
        resources = {"gpu": SimpleNamespace(name="gpu", addresses=list(addresses))} if addresses else {}
        context = SimpleNamespace(cpus=lambda: cpus, resources=lambda: resources, partitionId=lambda: partition)
        pyspark = SimpleNamespace(TaskContext=SimpleNamespace(get=lambda: context))
        monkeypatch.setitem(sys.modules, "pyspark", pyspark)
        monkeypatch.setattr(gpu, "device_count", lambda: devices)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpu._log_once.cache_clear()
    return start


def test_a_task_has_the_cores_that_spark_gave_it(task):
    task(cpus=3)

    assert gpu.task_cpus() == 3


@pytest.mark.parametrize(("limit", "expected"), [("5", 5), ("", None), ("0", None), ("many", None)])
def test_outside_of_spark_the_environment_sets_the_cores(monkeypatch, limit, expected):
    monkeypatch.delitem(sys.modules, "pyspark", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", limit)

    assert gpu.task_cpus() == (expected or len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(
    ("address", "visible", "devices", "expected"),
    [
        ("0", None, 1, "cuda:0"),
        ("3", None, 4, "cuda:3"),
        ("3", "2,3", 2, "cuda:1"),  # the driver counts what is visible, Spark counted all
        ("1", "2,3", 2, "cuda:1"),  # counted inside the container
        ("GPU-abc", "GPU-xyz,GPU-abc", 2, "cuda:1"),
    ],
)
def test_the_gpu_that_spark_assigned_is_used(task, monkeypatch, address, visible, devices, expected):
    task(addresses=[address], devices=devices)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert gpu.task_device("auto") == gpu.task_device("gpu") == expected
    assert gpu.task_device("cpu") == "cpu"


@pytest.mark.parametrize("address", ["7", "GPU-abc"])
def test_an_assigned_gpu_that_cuda_does_not_see_is_an_error_or_the_cpu(task, caplog, address):
    task(addresses=[address], devices=2)

    with pytest.raises(DeviceError, match=f"Spark assigned GPU '{address}' to this task, but CUDA sees 2 devices"):
        gpu.task_device("gpu")
    assert gpu.task_device("auto") == "cpu"
    assert "CUDA sees 2 devices" in caplog.text


@pytest.mark.parametrize("partition", [0, 1, 2, 5])
def test_visible_gpus_are_shared_out_where_spark_assigns_none(task, partition):
    task(partition=partition, devices=2)

    assert gpu.task_device("auto") == gpu.task_device("gpu") == f"cuda:{partition % 2}"


def test_a_gpu_that_nobody_has_is_an_error_with_the_settings_to_change(task):
    task()

    with pytest.raises(DeviceError, match=r"Set spark\.task\.resource\.gpu\.amount and .*or embed\.device"):
        gpu.task_device("gpu")


def test_falling_back_to_the_cpu_is_said_once(task, caplog):
    task()

    with caplog.at_level(logging.WARNING):
        devices = [gpu.task_device("auto") for _ in range(3)]

    assert devices == ["cpu"] * 3
    assert len(caplog.records) == 1


def test_outside_of_spark_the_driver_decides(monkeypatch):
    monkeypatch.delitem(sys.modules, "pyspark", raising=False)
    monkeypatch.setattr(gpu, "device_count", lambda: 1)

    assert gpu.task_device("auto") == "cuda:0"


def test_devices_that_are_hidden_are_not_counted():
    """A process of its own: the driver reads CUDA_VISIBLE_DEVICES once."""
    code = "from spark_imgdedup.gpu import device_count; assert device_count() == 0"

    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"})


def test_arrays_stay_where_they_are_on_a_cpu():
    array = np.arange(3, dtype=np.float32)

    assert gpu.to_device(array, "cpu") is array
    assert gpu.to_host(array) is array


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="CuPy is installed")
def test_without_cupy_arrays_stay_on_the_cpu_and_the_log_says_so_once(caplog):
    gpu._log_once.cache_clear()
    array = np.arange(3, dtype=np.float32)

    with caplog.at_level(logging.WARNING):
        assert gpu.to_device(array, "cuda:0") is gpu.to_device(array, "cuda:0") is array
    assert [record.message for record in caplog.records] == [
        "arrays stay on the CPU although the device is cuda:0: CuPy is not installed"
    ]


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="CuPy is installed")
def test_without_cupy_a_task_with_a_gpu_trains_on_the_cpu_and_the_log_says_so_once(task, caplog):
    task(addresses=["0"], devices=1)

    with caplog.at_level(logging.WARNING):
        assert [gpu.array_device(requested) for requested in ("auto", "gpu", "cpu")] == ["cpu"] * 3
    assert [record.message for record in caplog.records] == [
        "arrays stay on the CPU although the device is cuda:0: CuPy is not installed"
    ]


def test_importing_the_module_imports_nothing_heavy():
    code = (
        "import sys, spark_imgdedup.gpu; "
        "assert not {'torch', 'cupy', 'pyspark', 'onnxruntime'} & set(sys.modules), sorted(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_device_of_an_array_stays_the_current_one_for_what_kernels_make_beside_it(monkeypatch):
    class Device:
        current = 0

        def __init__(self, index):
            self.index = index

        def use(self):
            Device.current = self.index

    cupy = types.ModuleType("cupy")
    cupy.cuda = types.SimpleNamespace(Device=Device)
    cupy.asarray = lambda array: (Device.current, array)
    cupy.empty = lambda size: (Device.current, np.empty(size))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(gpu, "_has_cupy", lambda device: True)

    there = gpu.to_device(np.arange(3), "cuda:5")

    assert (there[0], cupy.empty(3)[0]) == (5, 5)


@pytest.mark.gpu
def test_arrays_go_to_a_gpu_and_back():
    import cupy

    array = np.arange(3, dtype=np.float32)
    there = gpu.to_device(array, "cuda:0")

    assert isinstance(there, cupy.ndarray)
    assert gpu.to_host(there).tolist() == array.tolist()
    assert gpu.array_device("gpu") == "cuda:0"
