"""Errors that a user can act on. Everything else is a bug and keeps its traceback."""


class SuperposeError(Exception):
    """A failure with one clear line for the user; the CLI prints it and exits with code 1."""


class ConfigError(SuperposeError, ValueError):
    """What the user wrote cannot be used; one line that says what to do next (exit code 2)."""


class RunError(SuperposeError):
    """A stored run is missing, damaged, or lacks what was asked of it (exit code 2)."""
