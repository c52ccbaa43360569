"""All exceptions: an `MvpError` stops a command, a `Skip` ends the work on one video."""

from enum import StrEnum


class MvpError(Exception):
    """Base of all errors that stop a command; the message says what is wrong, where, and what to do."""


class ConfigError(MvpError):
    """An option or a configuration file is wrong."""


class SourceError(MvpError):
    """A `--src` argument cannot be used at all (a single bad file in it is a `Skip`, not this)."""


class MissingDependencyError(MvpError):
    """An optional package is missing; the message contains the exact pip line."""


class WeightsError(MvpError):
    """Model weights are missing, or differ from the expected ones."""


class OutputError(MvpError):
    """The output folder or the bank cannot be used."""


class ShardError(MvpError):
    """A shard or a record is damaged, or has another schema version."""


class NeedsFullDecode(Exception):
    """A sparse pass cannot give the same frames as a full pass; the caller starts again and decodes every frame."""


class SkipReason(StrEnum):
    """The reason why a source file gives no samples, as written in the ledger."""

    UNREADABLE = "unreadable"  # cannot be opened or fetched
    EMPTY_FILE = "empty_file"  # zero bytes
    NOT_A_VIDEO = "not_a_video"  # not a container that the decoder can read
    NO_MOVING_PICTURE = "no_moving_picture"  # audio, cover art or a single image
    UNSUPPORTED_CODEC = "unsupported_codec"  # the decoder library cannot decode it
    DECODE_ERROR = "decode_error"  # damaged before enough frames were decoded
    CHANGED = "changed"  # the file changed while it was read
    TIMEOUT = "timeout"  # exceeded the time limit of one video
    MEMORY = "memory"  # exceeded the memory limit of one video
    CRASH = "crash"  # the worker process died
    TOO_SHORT = "too_short"  # fewer usable frames than a puzzle needs
    STATIC = "static"  # enough frames, but all show the same image
    NO_PUZZLE = "no_puzzle"  # no candidate puzzle passed the rules
    DUPLICATE = "duplicate"  # the same bytes as another source


class Skip(Exception):
    """Ends the work on one video; the job function catches it, and the ledger gets its reason and detail."""

    def __init__(self, reason: SkipReason, detail: str) -> None:
        super().__init__(reason, detail)  # both arguments: pickle needs them
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        """`reason: detail`."""
        return f"{self.reason}: {self.detail}"
