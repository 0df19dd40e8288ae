"""Rendered conversations in which the template's control tokens are told apart from look-alikes in the user's text.

A template concatenates strings, so after rendering nobody can say who wrote a `<|im_end|>`. Therefore every added token
inside the user's strings is broken up beforehand by a character that occurs nowhere in them (the mark). The rendered
text is split at the unbroken tokens, then the mark is taken out again and each stretch is encoded whole, so that
without look-alikes the ids are exactly those of the plainly rendered text.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from qwill.errors import TemplateError, UnsupportedModel

# What a template writes for an image or video.
PLACEHOLDERS = ("<|image_pad|>", "<|video_pad|>")
_PLACEHOLDER = re.compile(
    r"<\|vision_start\|>(?:{0})<\|vision_end\|>|{0}".format("|".join(map(re.escape, PLACEHOLDERS)))
)
_THINK_TAGS = re.compile(r"(</?think>)")


@dataclass(frozen=True)
class MediaPart:
    """One image or video of a conversation. `source` is the content part as the user gave it."""

    kind: str
    source: Mapping[str, Any]


@dataclass(frozen=True)
class RenderedPrompt:
    """A rendered conversation. `marked` holds the text with the mark inside user-written look-alikes; `media` are the
    images and videos in the order of their placeholders. `inside_reasoning`: the text ends with the beginning of an
    answer's reasoning."""

    marked: str
    mark: str = ""
    media: tuple[MediaPart, ...] = field(default=())
    inside_reasoning: bool = False

    @property
    def text(self) -> str:
        """The text as plain rendering would give it."""
        return self.unmark(self.marked)

    @property
    def opens_reasoning(self) -> bool:
        """Whether the answer starts, or goes on, inside a `<think>` that the template opened."""
        return self.inside_reasoning or self.marked.rstrip().endswith("<think>")

    def unmark(self, piece: str) -> str:
        """A stretch of `marked` as the user or template wrote it."""
        return piece.replace(self.mark, "") if self.mark else piece

    def expand_media(self, expansions: Sequence[str]) -> "RenderedPrompt":
        """Replace the i-th placeholder, with its vision_start and vision_end, by `expansions[i]`.

        An image's expansion brings its own vision_start and vision_end; a video's has a pair around each frame, which
        is why the template's pair must go. Raises TemplateError when the template left a part out or doubled one.
        """
        found = len(_PLACEHOLDER.findall(self.marked))
        if found != len(expansions):
            raise TemplateError(f"the chat template gave {found} places for {len(expansions)} images and videos")
        remaining = iter(expansions)
        return replace(self, marked=_PLACEHOLDER.sub(lambda _: next(remaining), self.marked))


def added_token_pattern(tokens: Iterable[str]) -> re.Pattern[str]:
    """A pattern that finds the leftmost, then longest, of `tokens`; one that never matches when there are none."""
    longest_first = sorted((token for token in tokens if token), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


class Marker:
    """Breaks up the added tokens in the user's strings.

    A string's end that may begin a token is broken up too, lest a token arise where the template joins two strings.
    """

    def __init__(self, added_tokens: Iterable[str]) -> None:
        """Raises UnsupportedModel for an added token of a single character, which nothing can break up."""
        tokens = set(added_tokens)
        for token in tokens:
            if len(token) == 1:
                raise UnsupportedModel(f"the added token {token!r} is a single character, which no prompt could quote")
        self._pattern = added_token_pattern(tokens)
        self._beginnings = {token[:length] for token in tokens for length in range(1, len(token))}
        self._longest = max(map(len, tokens), default=0)

    def choose_mark(self, value: object, avoid: str) -> str:
        """A character that occurs neither in `value` nor in `avoid`; empty when nothing in `value` has to be broken up.

        It is a rare ideograph and not a private-use character because templates that print a mapping would escape that.
        """
        strings = list(_strings(value))
        if not any(self._pattern.search(text) or self._open_end(text)[0] for text in strings):
            return ""
        used = set(avoid).union(*strings)
        mark = next((chr(code) for code in range(0x2A6D6, 0x20000, -1) if chr(code) not in used), None)
        if mark is None:
            raise TemplateError(
                "the conversation uses every character that could mark its look-alikes of control tokens"
            )
        return mark

    def apply(self, value: Any, mark: str) -> Any:
        """`value` with the mark put into every string in it, keys of mappings included."""
        if not mark:
            return value
        if isinstance(value, str):
            return self.apply_text(value, mark)
        if isinstance(value, Mapping):
            return {self.apply(key, mark): self.apply(item, mark) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.apply(item, mark) for item in value]
        return value

    def apply_text(self, text: str, mark: str) -> str:
        """`text` with a mark after every character of each added token."""
        text = self._pattern.sub(lambda match: _interleave(match.group(), mark), text)
        length, end = self._open_end(text)
        return text[: end - length] + _interleave(text[end - length : end], mark) + text[end:]

    def apply_answer(self, text: str, mark: str) -> str:
        """The same for an earlier answer that carries its reasoning in its text: the template must see those tags."""
        end = text.rfind("</think>") + len("</think>") if "</think>" in text else 0
        head = [
            part if _THINK_TAGS.fullmatch(part) else self.apply(part, mark) for part in _THINK_TAGS.split(text[:end])
        ]
        return "".join(head) + self.apply(text[end:], mark)

    def _open_end(self, text: str) -> tuple[int, int]:
        """Length of the longest beginning of a token that ends `text`, and where it ends: templates trim white
        space."""
        end = len(text.rstrip())
        for length in range(min(self._longest - 1, end), 0, -1):
            if text[end - length : end] in self._beginnings:
                return length, end
        return 0, end


def _interleave(text: str, mark: str) -> str:
    return "".join(character + mark for character in text)


def _strings(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(key)
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)
