"""What the values of settings may be, and the base of their groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from spark_imgdedup.config.explain import explain
from spark_imgdedup.config.shown import shown_options, shown_spark
from spark_imgdedup.errors import ConfigError, without_any_credentials


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


# Options of an fsspec file system. Their values, but for those known to be harmless, are in no dump, no repr and no
# error of a setting.
StorageOptions = Annotated[dict[str, Any], PlainSerializer(shown_options)]


def _spark_settings(settings: Any) -> Any:
    if not isinstance(settings, Mapping):
        return settings
    if wrong := [str(key) for key in settings if not str(key).startswith("spark.")]:
        raise ValueError(f"takes Spark's own names, such as spark.driver.memory; found {', '.join(wrong)}")
    if odd := [key for key, value in settings.items() if not isinstance(value, str | bool | int | float)]:
        raise ValueError(f"takes text, numbers, true and false; {odd[0]} is {type(settings[odd[0]]).__name__}")
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in settings.items()}


SparkSettings = Annotated[dict[str, str], BeforeValidator(_spark_settings), PlainSerializer(shown_spark)]
JsonType = Literal["string", "double", "bigint", "boolean"]


def _as_mapping(value: Any) -> Any:
    # A list of names is the short form: text, each of them.
    return dict.fromkeys(value, "string") if isinstance(value, list | tuple) else value


JsonFields = Annotated[dict[Location, JsonType], BeforeValidator(_as_mapping)]


if TYPE_CHECKING:  # a computed metaclass is not for mypy
    _Explained = BaseModel
else:

    class _Explaining(type(BaseModel)):
        """Has a section made by itself name mistakes as the command line does; within a Config that one does it."""

        def __call__(cls, *arguments: Any, **settings: Any) -> Any:
            try:
                return super().__call__(*arguments, **settings)
            except ValidationError as error:
                keys = [field.alias or name for name, field in cls.model_fields.items()]
                lines = (f"{cls.__name__}: {line}" for line in explain(error, keys))
                raise ConfigError("\n".join(lines)) from None

    class _Explained(BaseModel, metaclass=_Explaining):
        pass


class Section(_Explained):
    """A group of settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, serialize_by_alias=True)

    def given(self) -> dict[str, Any]:
        """What was set, secrets too, as this class takes it; the settings of a section in a mapping of their own."""
        fields = type(self).model_fields
        return {
            fields[name].alias or name: value.given() if isinstance(value, Section) else value
            for name, value in ((name, getattr(self, name)) for name in fields)
            if name in self.model_fields_set or (isinstance(value, Section) and value.model_fields_set)
        }

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's, but new values are held against the rules for them.

        Raises:
            ConfigError: a value is out of range, or there is no such setting.
        """
        if not update:
            return super().model_copy(deep=deep)
        by_alias = {field.alias or name: name for name, field in type(self).model_fields.items()}
        names = {key: by_alias.get(key, key) for key in update}
        aliases = {name: alias for alias, name in by_alias.items()}
        checked = type(self)(**self.given() | {aliases.get(names[key], key): value for key, value in update.items()})
        # All else stays as it is, what was filled in from other settings too.
        return super().model_copy(update={name: getattr(checked, name) for name in names.values()}, deep=deep)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """The settings without what their paths say to be let in."""
        for name, value in super().__repr_args__():
            yield name, value if isinstance(value, Section) else without_any_credentials(value)


class StorageSection(Section):
    """A group of settings with a place to read from or write to."""

    storage_options: StorageOptions = Field(
        default={},
        repr=False,
        description="The same for this place alone, in place of the general storage_options",
    )
