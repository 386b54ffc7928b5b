"""Errors shown to users. A message names the wrong value, the allowed ones and what to do."""

from __future__ import annotations


class SgroccError(Exception):
    """Base of all errors that the command line prints without a traceback."""


class FrameError(SgroccError, ValueError):
    """A frame that cannot be mapped.

    Attributes:
        cause: Short snake_case key under which the frame is counted, e.g. `bad_intrinsics`, `bad_pose` or `bad_image`.
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class ModelError(SgroccError):
    """A model folder that is missing, incomplete, damaged or of another version."""


class DataError(SgroccError):
    """A file or folder that is missing, damaged or of the wrong kind."""


class ConfigError(SgroccError, ValueError):
    """A configuration value that is not allowed; the message names the key, the value and the allowed values."""


class QueryError(SgroccError, ValueError):
    """Invalid points or an invalid box in a query to a map."""


class ViewerError(SgroccError):
    """The viewer cannot be started, or its recording cannot be written."""
