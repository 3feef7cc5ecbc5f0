"""Errors that a user can cause: one clear line each, with the remedy and an exit code.

Everything that is not a `UserError` is our own bug and keeps its traceback.
"""


class UserError(Exception):
    """A mistake that the user can mend. The message says what, where, and how to mend it."""

    exit_code = 2


class ConfigError(UserError):
    """The study file, an override or a command-line argument is wrong."""

    exit_code = 2


class DataError(UserError):
    """The data cannot be read, or cannot be used for what was asked."""

    exit_code = 3


class StorageError(UserError):
    """A database, the tracking server or the disk does not answer as it must."""

    exit_code = 4


class DiskFullError(StorageError):
    """There is no room for what had to be written; what was written before is whole."""


class ModelError(UserError):
    """A checkpoint, a registered model or the registry cannot be used."""

    exit_code = 5
