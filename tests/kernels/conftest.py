"""The array modules that the kernels run on here."""

from __future__ import annotations

import importlib

import numpy as np
import pytest


def _has_cupy() -> bool:
    try:
        return importlib.import_module("cupy").cuda.runtime.getDeviceCount() > 0
    except Exception:  # no CuPy, no driver or no device: each has an error of its own
        return False


MODULES = ["numpy", *([pytest.param("cupy", marks=pytest.mark.gpu)] if _has_cupy() else [])]


# Session-scoped: hypothesis refuses function-scoped fixtures.
@pytest.fixture(params=MODULES, scope="session")
def xp(request):
    return np if request.param == "numpy" else importlib.import_module(request.param)
