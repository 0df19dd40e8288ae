"""Errors that users see. Each message is one line: what is wrong, with its name, and the mend.

QwillError                    anything qwill raises on purpose            exit code 1
├── Busy                      too many requests wait already; try again later
└── UserError                 the user's mistake                          exit code 2
    ├── InvalidArgument       an option or parameter out of range
    ├── ModelNotFound         no such file, folder, alias or repository
    ├── CheckpointError       a file that is torn, foreign or inconsistent
    │   └── UnsupportedModel  a sound file of an architecture or type that qwill does not run
    ├── PromptTooLong         more tokens than the context holds
    ├── TemplateError         a chat template or a conversation that it refuses
    ├── MediaError            an image or video that cannot be used
    ├── SessionError          a saved conversation that cannot be written or read
    └── NotEnoughMemory       said before loading, from the file sizes
"""


class QwillError(Exception):
    """Base of every error that qwill raises on purpose."""

    exit_code = 1


class Busy(QwillError):
    """Too many requests wait already; the same one can be sent again later."""


class UserError(QwillError):
    """A mistake in what the user gave: one line that names the thing and the mend."""

    exit_code = 2


class InvalidArgument(UserError, ValueError):
    """An option or parameter that has no meaning or is out of range."""


class ModelNotFound(UserError):
    """No such file, folder, alias or repository."""


class CheckpointError(UserError):
    """A checkpoint that is torn, inconsistent or not one at all."""


class UnsupportedModel(CheckpointError):
    """A sound checkpoint of an architecture, tensor type or option that qwill does not run."""


class PromptTooLong(UserError):
    """More tokens than the context holds. `tokens`: how many, or about how many where not all were read; `most`: how
    many there may be."""

    def __init__(self, message: str, tokens: int = 0, most: int = 0) -> None:
        super().__init__(message)
        self.tokens = tokens
        self.most = most


class TemplateError(UserError):
    """A chat template that does not work, or a conversation that it refuses."""


class MediaError(UserError):
    """An image or video that cannot be decoded or is outside the limits. `place`: where in a conversation it stands."""

    def __init__(self, message: str, place: str | None = None) -> None:
        super().__init__(f"{place}: {message}" if place else message)
        self.place = place or None


class SessionError(UserError):
    """A saved conversation that cannot be written, or is torn or foreign."""


class NotEnoughMemory(UserError):
    """The model does not fit; raised before loading, from the file sizes."""
