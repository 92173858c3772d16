"""What this machine's CPU multiplies by itself, by what Linux says of it."""

from __future__ import annotations

from pathlib import Path

BF16 = {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}
INT8 = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}


def cpuinfo() -> str:
    """The text of /proc/cpuinfo; empty where there is none."""
    try:
        return Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:  # no Linux
        return ""


def cpu_has_bf16(text: str) -> bool:
    """Whether it multiplies bf16 (x86 and Arm); True where the text says nothing."""
    return _has(text, BF16)


def cpu_has_int8(text: str) -> bool:
    """Whether it sums products of bytes without saturating (x86 and Arm); True where the text says nothing."""
    return _has(text, INT8)


def _has(text: str, any_of: set[str]) -> bool:
    flags = set(text.split())
    return not flags or not flags.isdisjoint(any_of)
