"""What can go wrong for a user.

ImgDedupError
  ConfigError   a setting is unknown, missing or out of range
  SchemaError   a table lacks a column a stage needs, or holds what it must not hold
  ShardError    a shard cannot be found or opened, or two samples have one id
  DeviceError   Spark gave the task no usable GPU
  ModelError    an encoder's weights are missing, or do not fit its settings
  CountsError   the counts of a run do not add up
  TableError    a table refuses a write, or somebody else has changed it meanwhile
"""


class ImgDedupError(Exception):
    """Base of all errors a user can fix; the command line prints them without a traceback."""


class ConfigError(ImgDedupError):
    """A setting is unknown, missing or out of range."""


class SchemaError(ImgDedupError):
    """A table lacks a column a stage needs, or holds what it must not hold."""


class ShardError(ImgDedupError):
    """A shard cannot be found or opened, or two samples have one id."""


class DeviceError(ImgDedupError):
    """Spark gave the task no usable GPU."""


class ModelError(ImgDedupError):
    """An encoder's weights are missing, or do not fit its settings."""


class CountsError(ImgDedupError):
    """The counts of a run do not add up: something was lost, or written twice."""


class TableError(ImgDedupError):
    """A table refuses a write, or somebody else has changed it meanwhile."""
