"""Which steps a run takes, and with which eps: what follows from the settings alone."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import yaml

from spark_imgdedup.config import STEP_NAMES, Config, StepName
from spark_imgdedup.config.steps import STEP
from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.files import storage
from spark_imgdedup.files.reach import require_reachable
from spark_imgdedup.models import recommended_eps
from spark_imgdedup.runs.check_columns import require_metadata

if TYPE_CHECKING:
    from spark_imgdedup.runs.tables import Tables

log = logging.getLogger(__name__)

# Steps that most runs have no use for: that they are left out is no news, unless the user has named them.
ON_REQUEST = ("score", "detect")
# What the search is made for where nothing says which eps will be applied: SemDeDup's thresholds are below it.
UNKNOWN_EPS = 0.1
# Own embeddings have no measured preset; this removes near-identical rows only.
OWN_EMBEDDINGS_EPS = 0.01


def plan_steps(config: Config, steps: Sequence[str] | None = None) -> list[StepName]:
    """The steps that a run takes, in the order of the data.

    Those asked for, or else those of `config.steps` that its other settings leave something to do for.

    Raises:
        ConfigError: a step asked for is unknown, or the configuration lacks its input.
    """
    unknown = [name for name in steps or () if name not in STEP_NAMES]
    if unknown:
        raise ConfigError(f"steps: there is no step {', '.join(unknown)}. The steps are {', '.join(STEP_NAMES)}.")
    idle = idle_steps(config)
    if steps:
        planned = _asked_for(steps, idle, config)
    else:
        for name in config.steps:
            if name in idle and (name not in ON_REQUEST or "steps" in config.model_fields_set):
                log.info("%s is left out: %s", name, idle[name])
        planned = [name for name in config.steps if name not in idle]
    if "embed" in planned and config.input.path is None:
        raise ConfigError(
            "input.path is not set. Name the folder of shards (--set input.path=data/), or set cluster.embeddings_path."
        )
    if "embed" in planned and config.input.format != "table":  # a table's columns are known once it is opened
        require_metadata(config)
    takes_phash = "phash" in config.detect.hashes and {"embed", "detect"} & set(planned)
    if takes_phash and importlib.util.find_spec("imagehash") is None:
        raise ConfigError("detect: perceptual hashes need imagehash. Run `pip install 'spark-imgdedup[phash]'`.")
    return planned


def _asked_for(steps: Sequence[str], idle: Mapping[str, str], config: Config) -> list[StepName]:
    for name in steps:
        if name in idle and name != "embed":
            raise ConfigError(f"{name}: {idle[name]}")
    whole_order = config.steps if set(steps) <= set(config.steps) else STEP_NAMES
    # What cluster needs of detect is cheap, and skipped where it is there.
    also = {"detect"} if "cluster" in steps and config.detect.prepass else set()
    return [name for name in whole_order if name in {*steps, *also}]


def idle_steps(config: Config) -> dict[str, str]:
    """The steps that have nothing to work on, and why."""
    idle: dict[str, str] = {}
    method, own = config.detect.method, config.cluster.embeddings_path
    if own is not None:
        idle["embed"] = f"cluster.embeddings_path is set, so the run starts from {own}."
    if config.score.is_idle:
        idle["score"] = "score names no head and no scorer. Set score.aesthetic_head, score.nsfw_head or score.scorers."
    if not config.detect.hashes:
        idle["detect"] = "detect.method is embedding and detect.prepass is empty. Set one of them to search by hashes."
    if method != "embedding":
        no_model = f"detect.method is {method}, which takes no embeddings. Set it to embedding to compare those."
        idle |= dict.fromkeys(("cluster", "pairwise"), no_model)
        if config.score.is_idle:
            idle["embed"] = no_model
    elif not has_eps(config):
        idle["identify"] = (
            "identify.eps is null. `spark-imgdedup eps` prints what each eps would remove; then --set identify.eps=…"
        )
    if (why := _why_nothing_is_removed(config, idle)) is not None:
        idle["remove"] = why
    return idle


def _why_nothing_is_removed(config: Config, idle: Mapping[str, str]) -> str | None:
    if config.input.path is None and config.own_embeddings:
        return "input.path is not set, so there is no dataset to copy. The duplicates are in work_dir."
    if config.uses_duplicates:
        return idle.get("identify")
    if config.remove.ids_path is None and not config.uses_scores and config.remove.unreadable == "keep":
        return "steps has neither identify nor score, and remove.ids_path is not set, so nothing would go. Add one."
    return None


def require_inputs(planned: Sequence[StepName], tables: Tables, config: Config) -> None:
    """Look, before any work, whether each step finds what it reads: from an earlier step of this run or of another.

    Raises:
        SchemaError: a step is missing.
    """
    for place, name in enumerate(planned):
        for before in STEP[name].built_on(config):
            if before not in planned[:place] and tables.record(before) is None:
                raise SchemaError(
                    f"{name} needs the tables of step '{before}', which is not among the steps of this run, and "
                    f"{config.work_dir} has none. Run spark-imgdedup {before} --config … first, or add it to steps."
                )


def has_eps(config: Config) -> bool:
    """True where identify knows, or can find out, from which cosine on a row is a duplicate."""
    return config.identify.target_keep_fraction is not None or resolve_eps(config).identify.eps is not None


def resolve_eps(config: Config) -> Config:
    """`config` with a number (or null) in place of identify.eps auto: the encoder's measured preset.

    Null too where identify.target_keep_fraction is set: the scores decide then, once they are there.
    """
    if config.identify.eps != "auto":
        return config
    if config.identify.target_keep_fraction is not None:
        eps = None
    else:
        eps = OWN_EMBEDDINGS_EPS if config.own_embeddings else recommended_eps(config.embed.model)
    return config.model_copy(update={"identify": config.identify.model_copy(update={"eps": eps})})


def resolve_format(config: Config) -> Config:
    """`config` with what is found at input.path in place of input.format auto, or was when a run was there last.

    Raises:
        ConfigError: files of several formats are there, or other settings do not go with the format found.
    """
    given = config.input
    if given.path is None or given.given_format != "auto":
        return config
    for path in given.paths:
        if "://" in path:  # a store that does not let us in is named as such
            require_reachable("input.path", path, given.storage_options)
    found = given.found_format or _recorded_format(config)
    return config if found is None else config.with_(**{"input.format": found})


def _recorded_format(config: Config) -> str | None:
    """What an earlier run of this work_dir found at a path where nothing is left: its tables tell of that."""
    try:
        text = storage.read_text(storage.join(config.work_dir, "config.yaml"), config.storage_options)
        recorded = yaml.safe_load(text)["input"]
        is_same = recorded["path"] == config.model_dump(mode="json")["input"]["path"]
        return recorded["format"] if is_same and recorded["format"] != "auto" else None
    except (FileNotFoundError, yaml.YAMLError, KeyError, TypeError):
        return None


def searched_eps(config: Config) -> float:
    """The eps that the search is made for: pairwise.max_eps, or identify's own."""
    if config.pairwise.max_eps is not None:
        return config.pairwise.max_eps
    eps = resolve_eps(config).identify.eps
    return eps if isinstance(eps, float) else UNKNOWN_EPS
