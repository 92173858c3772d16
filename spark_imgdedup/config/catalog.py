"""Tables that have names in a catalog instead of folders below work_dir."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from spark_imgdedup.config.values import Section


def _one_name(value: str) -> str:
    if not re.fullmatch(r"[^\s./`]+", value):
        raise ValueError("must be one name, without dots, slashes, spaces and backticks")
    return value


Name = Annotated[str, AfterValidator(_one_name)]


class TablesConfig(Section):
    """Names of the tables in a catalog, `catalog.schema.table`, in place of folders."""

    catalog: Name | None = Field(default=None, description="Catalog of the tables. Null: the session's own")
    # pydantic has a method of that name on every model.
    schema_name: Name | None = Field(
        default=None,
        alias="schema",
        description="Schema of the tables; it must be there, and each work_dir needs one of its own. Null: the tables "
        "are folders of work_dir, where the centroids, the records of the steps and the report are in any case",
    )

    @model_validator(mode="after")
    def _catalog_has_a_schema(self) -> TablesConfig:
        if self.catalog is not None and self.schema_name is None:
            raise ValueError(f"catalog is {self.catalog}, but schema is not set. Name the schema of the tables")
        return self
