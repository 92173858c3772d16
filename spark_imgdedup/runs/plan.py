"""Which steps a run takes, and with which eps: what follows from the settings alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from spark_imgdedup.config import STEP_NAMES, Config, StepName
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.models import recommended_eps

log = logging.getLogger(__name__)

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
        for name in steps:
            if name in idle and name != "embed":
                raise ConfigError(f"{name}: {idle[name]}")
        planned = [name for name in STEP_NAMES if name in steps]
    else:
        for name in config.steps:
            if name in idle:
                log.info("%s is left out: %s", name, idle[name])
        planned = [name for name in config.steps if name not in idle]
    if "embed" in planned and config.input.path is None:
        raise ConfigError(
            "input.path is not set. Name the folder of shards (--set input.path=data/), or set cluster.embeddings_path."
        )
    return planned


def idle_steps(config: Config) -> dict[str, str]:
    """The steps that have nothing to work on, and why."""
    idle: dict[str, str] = {}
    no_eps = "identify.eps is null. `spark-imgdedup eps` prints what each eps would remove; then --set identify.eps=…"
    if config.own_embeddings:
        idle["embed"] = f"cluster.embeddings_path is set, so the run starts from {config.cluster.embeddings_path}."
    if resolve_eps(config).identify.eps is None:
        idle["identify"] = no_eps
        if config.remove.ids_path is None:
            idle["remove"] = no_eps
    if config.input.path is None and config.own_embeddings:
        idle["remove"] = "input.path is not set, so there is no dataset to copy. The duplicates are in work_dir."
    return idle


def resolve_eps(config: Config) -> Config:
    """`config` with a number (or null) in place of identify.eps auto: the encoder's measured preset."""
    if config.identify.eps != "auto":
        return config
    eps = OWN_EMBEDDINGS_EPS if config.own_embeddings else recommended_eps(config.embed.model)
    return config.model_copy(update={"identify": config.identify.model_copy(update={"eps": eps})})
