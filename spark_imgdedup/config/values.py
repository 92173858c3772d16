"""What the values of settings may be, and the base of their groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

HIDDEN = "**********"


def refuse_bool(value: Any) -> Any:
    """For numbers: true and false are none."""
    # YAML reads on, off, yes and no as booleans, and Python takes those for 1 and 0.
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _refuse_nothing(value: Any) -> Any:
    if value in ("", [], ()):
        raise ValueError("must not be empty")
    return tuple(value) if isinstance(value, list) else value


Seed = Annotated[int, BeforeValidator(refuse_bool)]
Count = Annotated[int, Field(ge=1), BeforeValidator(refuse_bool)]
Eps = Annotated[float, Field(ge=0, lt=1), BeforeValidator(refuse_bool)]
Share = Annotated[float, Field(gt=0, lt=1), BeforeValidator(refuse_bool)]
Limit = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(refuse_bool)]
Location = Annotated[str, BeforeValidator(_refuse_nothing)]
Locations = Annotated[str | tuple[Location, ...], BeforeValidator(_refuse_nothing)]
Columns = tuple[Location, ...]


def _hide_values(options: Mapping[str, Any]) -> dict[str, str]:
    return dict.fromkeys(options, HIDDEN)


# Options of an fsspec file system. Their values are in no dump, no repr and no error of a setting.
StorageOptions = Annotated[dict[str, Any], PlainSerializer(_hide_values)]
JsonType = Literal["string", "double", "bigint", "boolean"]


def _as_mapping(value: Any) -> Any:
    # A list of names is the short form: text, each of them.
    return dict.fromkeys(value, "string") if isinstance(value, list | tuple) else value


JsonFields = Annotated[dict[Location, JsonType], BeforeValidator(_as_mapping)]


class Section(BaseModel):
    """A group of settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class StorageSection(Section):
    """A group of settings with a place to read from or write to."""

    storage_options: StorageOptions = Field(
        default={},
        repr=False,
        description="The same for this place alone, in place of the general storage_options",
    )
