"""Everything that can go wrong, as one tree: what stops a command, and what only skips a video."""

from enum import StrEnum


class MvpError(Exception):
    """Base of all errors that stop a command; the message says what is wrong, where, and what to do."""


class ConfigError(MvpError):
    """An option or a configuration file is wrong."""


class SourceError(MvpError):
    """A `--src` argument cannot be used at all (a single bad file in it is a `Skip`, not this)."""


class MissingDependencyError(MvpError):
    """An optional package is needed; the message holds the exact pip line."""


class WeightsError(MvpError):
    """Model weights are missing or are not the ones expected."""


class OutputError(MvpError):
    """The output folder or the bank cannot be used."""


class ShardError(MvpError):
    """A shard or a record is damaged, or is of another schema version."""


class NeedsFullDecode(Exception):
    """A sparse pass cannot give the frames of a full one; the caller repeats the pass and decodes every frame."""


class SkipReason(StrEnum):
    """Why a source file gives no samples; the words users meet in the ledger."""

    UNREADABLE = "unreadable"  # cannot be opened or fetched
    EMPTY_FILE = "empty_file"  # zero bytes
    NOT_A_VIDEO = "not_a_video"  # no container the decoder knows
    NO_MOVING_PICTURE = "no_moving_picture"  # audio, cover art or a single picture
    UNSUPPORTED_CODEC = "unsupported_codec"  # the back end cannot decode it
    DECODE_ERROR = "decode_error"  # damaged before a useful stretch
    CHANGED = "changed"  # it became another file while it was read
    TIMEOUT = "timeout"  # longer than the wall-clock limit of one video
    MEMORY = "memory"  # more memory than one video may take
    CRASH = "crash"  # the worker process died
    TOO_SHORT = "too_short"  # fewer usable frames than a strip needs
    STATIC = "static"  # enough frames, but they show the same picture
    NO_PUZZLE = "no_puzzle"  # strips were found, yet none passed the rules
    DUPLICATE = "duplicate"  # same bytes as another source


class Skip(Exception):
    """Raised anywhere in the work on one video, caught in one place, written to the ledger."""

    def __init__(self, reason: SkipReason, detail: str) -> None:
        super().__init__(reason, detail)  # both, so that it pickles across processes
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        """`reason: detail`."""
        return f"{self.reason}: {self.detail}"
