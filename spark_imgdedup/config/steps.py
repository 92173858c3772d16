"""The steps of a run, and which orders of them make sense."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

StepName = Literal["embed", "score", "detect", "cluster", "pairwise", "identify", "remove", "report"]
STEP_NAMES: tuple[StepName, ...] = ("embed", "score", "detect", "cluster", "pairwise", "identify", "remove", "report")

# What each does, in a line: for the command line and the log.
ABOUT: dict[StepName, str] = {
    "embed": "Decode every image of the input and give it an embedding.",
    "score": "Score every embedding, and mark the images that a filter rejects.",
    "detect": "Find exact copies by digests, and perceptual hashes that are near each other, without a model.",
    "cluster": "Group similar images, so that only images of one group need comparing.",
    "pairwise": "Find the better-ranked image that each image resembles most.",
    "identify": "Call an image a duplicate when it resembles a better-ranked one closely enough.",
    "remove": "Copy the dataset without what identify, a filter or a list of ids names.",
    "report": "Print what the steps so far have counted, and write report.json.",
}

# Each step comes after these, if they are taken at all. Only `score` has a choice: before the search for duplicates,
# and what it rejects takes no part in that; or after it, and an image may be the duplicate of a rejected one.
COMES_AFTER: dict[StepName, tuple[StepName, ...]] = {
    "embed": (),
    "score": ("embed",),
    "detect": ("embed",),
    "cluster": ("embed", "detect"),
    "pairwise": ("cluster",),
    "identify": ("pairwise", "cluster", "detect"),
    "remove": ("identify", "pairwise", "cluster", "detect", "score", "embed"),
    "report": tuple(name for name in STEP_NAMES if name != "report"),
}
# Where a filter takes images out of the search, it must have judged all of them before the first of these.
SEARCH: tuple[StepName, ...] = ("detect", "cluster", "pairwise", "identify")


def misplaced(steps: Sequence[StepName]) -> Iterator[str]:
    """What is wrong with the order of some steps, and how it goes."""
    if not steps:
        yield f"names no step; the steps are {', '.join(STEP_NAMES)}"
    for name in dict.fromkeys(name for name in steps if steps.count(name) > 1):
        yield f"names {name} twice"
    for place, name in enumerate(steps):
        late = [before for before in COMES_AFTER[name] if before in steps[place + 1 :]]
        if late:
            yield f"has {name} before {' and '.join(late)}, which it needs; an order that works: {in_order(steps)}"
    if "score" in steps:
        around = [name for name in SEARCH if name in steps]
        before = [name for name in around if steps.index(name) < steps.index("score")]
        if before and before != around:
            yield (
                f"has score between {before[-1]} and {around[len(before)]}; put it before {around[0]}, to search among "
                f"what passes, or after {around[-1]}, to filter what is left"
            )


def in_order(steps: Iterable[StepName]) -> list[StepName]:
    """The steps in the order of the data."""
    named = set(steps)
    return [name for name in STEP_NAMES if name in named]
