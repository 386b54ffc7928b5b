"""Errors that a user may meet: each says what is wrong, with the value, and what is allowed."""

from __future__ import annotations


class SgroccError(Exception):
    """Base of all errors that the command line prints without a traceback."""


class FrameError(SgroccError, ValueError):
    """A frame that cannot be mapped.

    Attributes:
        cause: short snake_case key under which the frame is counted (`bad_intrinsics`, `bad_pose`, `bad_image`, `bad_depth`).
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class ModelError(SgroccError):
    """A model folder that is missing, incomplete, damaged or of another version."""


class DataError(SgroccError):
    """A file or folder that cannot be read as what it should be."""


class ConfigError(SgroccError, ValueError):
    """A configuration value that is not allowed: names the key, the value and what is allowed."""


class QueryError(SgroccError, ValueError):
    """A question to a map that has no answer: says what is wrong with the points or the box."""


class ViewerError(SgroccError):
    """A viewer that cannot be started, or a recording for it that cannot be written."""
