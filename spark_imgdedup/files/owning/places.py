"""Whether the places of a run meet: what it reads, what it writes, and the folders of its tables. No Spark."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from spark_imgdedup.config import Config
from spark_imgdedup.config.steps import RECORDED
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import storage

# What lies in a work_dir beside tables.
BESIDE_TABLES = ("_steps", "report", "config.yaml")
# The parts of tables that are stored elsewhere, or in another way; see `runs.tables`.
PARTS = "parts"
# What else a step keeps there, some of it only while it runs. What people have said is stored for whatever asks groups.
_ASIDE = {
    "embed": (PARTS,),
    "detect": (PARTS,),
    "cluster": ("marks",),
    "pairwise": ("probes",),
    "groups": ("said",),
    "identify": ("stored",),
}


def written_names(steps: Sequence[str]) -> list[str]:
    """What these steps write below work_dir: tables, artefacts, records, report."""
    writers = [step for step in RECORDED if step.name in steps or step.made_by in steps]
    tables = (name for step in writers for name in (*step.tables, *step.artefacts, *step.on_the_way))
    aside = (name for step in writers for name in _ASIDE.get(step.name, ()))
    return [*dict.fromkeys((*tables, *aside)), *BESIDE_TABLES]


def require_apart(config: Config, steps: Sequence[str]) -> None:
    """Look, before any work, whether these steps would write into what the run reads, or one output into another.

    What another run has left in its work_dir, or an earlier run in this one, may be read: only what these steps write
    is not to be their input too.

    Raises:
        ConfigError: with both settings and both paths.
    """
    work_dir = config.work_dir
    for setting, path in _read(config, steps):
        if _may_hold(path, work_dir):
            raise ConfigError(
                f"work_dir {work_dir} lies in {setting} {path}, so tables would be written among what is read. Choose "
                "a work_dir beside it."
            )
        for name in written_names(steps):
            if storage.is_within(storage.fixed_part(path), storage.join(work_dir, name)):
                raise ConfigError(
                    f"{setting} {path} lies in {storage.join(work_dir, name)}, which this run writes (work_dir "
                    f"{work_dir}). Copy it elsewhere, or choose another work_dir."
                )
    if "remove" in steps and not config.deletes and config.output.path is not None:
        _require_output_apart(config, config.output.path, steps)


def _require_output_apart(config: Config, output: str, steps: Sequence[str]) -> None:
    for setting, path in (*_read(config, steps), ("work_dir", config.work_dir)):
        fixed = storage.fixed_part(path) if setting != "work_dir" else path
        if storage.is_within(output, fixed) or storage.is_within(fixed, output):
            raise ConfigError(
                f"output.path {output} and {setting} {path} lie one within the other. Choose a folder beside it."
            )


def _read(config: Config, steps: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The settings that name what these steps read, and their paths."""
    if config.input.path is not None:
        yield from (("input.path", path) for path in config.input.paths)
    if config.cluster.embeddings_path is not None:
        yield "cluster.embeddings_path", config.cluster.embeddings_path
    if "remove" in steps:
        yield from (("remove.ids_path", path) for path in config.remove.paths)
    if {"identify", "remove"} & set(steps):
        yield from (("remove.never", path) for path in config.remove.never_paths)
        yield from (("identify.decisions", path) for path in config.identify.decision_paths)


def _may_hold(pattern: str, place: str) -> bool:
    """True where `place` is among what a path or a glob names, or below it."""
    fixed = storage.fixed_part(pattern)
    if not storage.is_within(place, fixed):
        return False
    wild = pattern.split("/")[len(fixed.split("/")) if fixed not in ("/", ".") or pattern.startswith("./") else 0 :]
    if not storage.is_glob(pattern) or not wild or wild[0] == "**":
        return True
    below = posixpath.relpath(storage.canonical(place), storage.canonical(fixed)).split("/")
    return below[0] == "." or fnmatchcase(below[0], wild[0])
