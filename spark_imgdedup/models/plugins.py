"""Encoders and scorers of the user's own: classes by dotted path, imported, built and checked in one way."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Any

from spark_imgdedup.errors import ImgDedupError, ModelError

DOTTED_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def import_class(spec: str, kind: str) -> Any:
    """The class (or function) that `spec` names, not built: to tell a misspelled one before any work.

    Args:
        spec: my_package.my_module:MyClass.
        kind: What it should be, for the error: encoder or scorer.

    Raises:
        ModelError: the spec has another form, or there is no such module or class.
    """
    if not DOTTED_PATH.fullmatch(spec):
        raise ModelError(
            f"There is no {kind} '{spec}'. Name a class as my_package.my_module:My{kind.title().replace(' ', '')}."
        )
    module_name, _, class_name = spec.partition(":")
    try:
        return getattr(importlib.import_module(module_name), class_name)
    except ImportError as error:
        raise ModelError(f"The {kind} '{spec}' cannot be imported: {error}. Install it on every worker.") from error
    except AttributeError as error:
        raise ModelError(f"Module '{module_name}' has no '{class_name}'. Check the {kind} '{spec}'.") from error


def build(spec: str, kind: str, protocol: Any, construct: Callable[[Any], object]) -> Any:
    """The object of a dotted path, if it has every part that `protocol` names.

    Args:
        spec: my_package.my_module:MyClass.
        kind: encoder or scorer.
        protocol: A runtime-checkable protocol.
        construct: Called with the class.

    Raises:
        ModelError: it cannot be imported or built, or lacks a part.
    """
    factory = import_class(spec, kind)
    try:
        built = construct(factory)
    except ImgDedupError:
        raise
    except Exception as error:
        raise ModelError(f"The {kind} '{spec}' failed while it was built: {type(error).__name__}: {error}") from error
    if not isinstance(built, protocol):
        parts = (*getattr(protocol, "__annotations__", ()), *vars(protocol))
        missing = ", ".join(part for part in parts if not part.startswith("_") and not hasattr(built, part))
        raise ModelError(f"'{spec}' is no {kind}: it lacks {missing}. See {protocol.__module__}.{protocol.__name__}.")
    return built
