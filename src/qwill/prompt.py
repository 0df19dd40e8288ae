"""Conversations and texts become prompts: template, media, tokens, positions."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from qwill import effort
from qwill.engine.request import Prompt
from qwill.errors import CheckpointError, InvalidArgument, MediaError, PromptTooLong
from qwill.media.image import ImageSettings, load_image, preprocess_image, source_bytes
from qwill.media.patches import Patches
from qwill.media.placement import Kind, MediaTokenIds, place, placeholder_text
from qwill.media.video import VideoSettings, load_video, preprocess_video
from qwill.text.chat_template import DEFAULT_TEMPLATE, MEDIA_KINDS, BegunAnswer, ChatTemplate, part_kind, part_source
from qwill.text.prompt import MediaPart, RenderedPrompt
from qwill.text.tokenizer import Tokenizer
from qwill.weights.checkpoint import Checkpoint

Message = Mapping[str, Any]
UNLIMITED = 2**31
CHARACTERS = 8  # of a prompt for each token of the context, beyond which it is worth a look whether it can fit
START_OF_TURN = "<|im_start|>"
HEADER_OF_ANSWER = "assistant\n"
RESERVED_VARIABLES = (
    "messages", "tools", "add_generation_prompt", "enable_thinking", "merge_system", "begun", "self",
)  # fmt: skip


@dataclass(frozen=True)
class PromptOptions:
    """How a conversation becomes a prompt.

    - fps, num_frames: frames a second, or in all, taken from each video; `every_frame` takes them all
    - min_pixels, max_pixels: of an image; of a video over all frames together
    - seconds: the longest that reading a video may take
    - go_on: the last message, the assistant's, is the beginning of the answer
    - variables: handed to the chat template
    - preserve_thinking: whether reasoning of earlier turns stays in the prompt, for templates that know the word
    - effort: how much the model is to reason (effort.py), likewise
    """

    fps: float | None = None
    num_frames: int | None = None
    every_frame: bool = False
    min_pixels: int | None = None
    max_pixels: int | None = None
    seconds: float | None = None
    go_on: bool = False
    variables: Mapping[str, Any] = field(default_factory=dict)
    preserve_thinking: bool | None = None
    effort: str | None = None

    def thinks(self, thinking: bool) -> bool:
        """Whether the model reasons if it is to be `thinking` as far as its effort allows. Raises InvalidArgument."""
        return thinking and (self.effort is None or effort.reasons(self.effort))

    @property
    def wishes(self) -> dict[str, Any]:
        """What only some templates know, by the names of their variables."""
        wished = {
            "preserve_thinking": self.preserve_thinking,
            effort.VARIABLE: None if self.effort is None else effort.spelled(self.effort),
        }
        return {name: value for name, value in wished.items() if value is not None}


@dataclass(frozen=True)
class ChatPrompt:
    """A conversation's prompt. `opened`: it ends inside an opened `<think>`; `goes_on`: it ends with the beginning of
    the answer. `unheard`: wishes (PromptOptions) that the template does not know."""

    prompt: Prompt
    opened: bool
    goes_on: bool = False
    unheard: frozenset[str] = frozenset()


class PromptBuilder:
    """Knows a checkpoint's tokenizer, template and media settings. What is far from fitting into `max_context` tokens
    is refused before all of it is read or decoded; `max_text` is another bound for what is not decoded."""

    def __init__(
        self, checkpoint: Checkpoint, tokenizer: Tokenizer | None, has_vision: bool, max_context: int = UNLIMITED,
        max_text: int | None = None,
    ) -> None:  # fmt: skip
        self._checkpoint = checkpoint
        self._tokenizer = tokenizer
        self._has_vision = has_vision
        self._max_context = max_context
        self._max_text = max_context if max_text is None else max_text
        self._template: ChatTemplate | None = None

    @property
    def tokenizer(self) -> Tokenizer:
        """Raises CheckpointError when the checkpoint came without one."""
        if self._tokenizer is None:
            raise CheckpointError(f"{self._checkpoint.path}: has no tokenizer; add its tokenizer.json")
        return self._tokenizer

    def tokens(self, prompt: str | Sequence[int]) -> Prompt:
        """A plain prompt: token ids, or text in which special tokens count as such."""
        if isinstance(prompt, str):
            self._check_length(prompt)
            return _text_prompt(self.tokenizer.encode(prompt, allow_special=True))
        vocab_size = self._checkpoint.config.get("text_config", self._checkpoint.config)["vocab_size"]
        for token in prompt:
            if not 0 <= token < vocab_size:
                raise InvalidArgument(f"token id {token} is outside the vocabulary of {vocab_size}")
        return _text_prompt([int(token) for token in prompt])

    def conversation(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None,
        thinking: bool,
        options: PromptOptions = PromptOptions(),
    ) -> ChatPrompt:
        """The prompt of a conversation. Raises TemplateError, MediaError, InvalidArgument, PromptTooLong."""
        if self._template is None:
            source = self._checkpoint.chat_template or DEFAULT_TEMPLATE
            self._template = ChatTemplate(source, self.tokenizer.added_tokens)
        begun, thinking = None, options.thinks(thinking)
        if options.go_on:
            if not messages or messages[-1].get("role") != "assistant":
                raise InvalidArgument("only an assistant's message can be gone on with; it has to be the last one")
            begun = BegunAnswer.of(messages[-1])
            messages = messages[:-1]
            thinking = bool(begun.reasoning) or (thinking and not begun.content)
        wishes = options.wishes if thinking else replace(options, effort=None).wishes
        unheard = wishes.keys() - self._template.variables if wishes else frozenset()
        heard = {name: value for name, value in wishes.items() if name not in unheard}
        rendered = self._template.render(
            messages, tools, enable_thinking=thinking, begun=begun, **{**heard, **_own_variables(options.variables)}
        )
        goes_on = begun is not None and bool(begun.reasoning or begun.content)
        opened = rendered.opens_reasoning
        self._check_length(rendered.text)
        if not rendered.media:
            token_ids = self.tokenizer.encode_template(rendered)
            return ChatPrompt(_text_prompt(token_ids, self._partings(token_ids)), opened, goes_on, frozenset(unheard))
        if not self._has_vision:
            raise MediaError(f"{self._checkpoint.path.name} has no vision tower; leave images and videos out")
        loaded = self._load_all(rendered, options)
        kinds: list[Kind] = ["image" if part.kind == "image" else "video" for part in rendered.media]
        texts = [placeholder_text(kind, patches, times) for kind, (patches, times) in zip(kinds, loaded, strict=True)]
        token_ids = self.tokenizer.encode_template(rendered.expand_media(texts))
        media = [(kind, patches) for kind, (patches, _) in zip(kinds, loaded, strict=True)]
        positions, after, runs = place(token_ids, media, MediaTokenIds.from_config(self._checkpoint.config))
        partings = (*self._partings(token_ids), runs[-1].start + runs[-1].length)
        return ChatPrompt(Prompt(token_ids, positions, after, runs, partings), opened, goes_on, frozenset(unheard))

    def _partings(self, token_ids: list[int]) -> tuple[int, ...]:
        """Where conversations part: after a system message that others begin with, too, and where the answer begins,
        whose reasoning a template leaves out of the next turn.
        """
        start = self.tokenizer.added_tokens.get(START_OF_TURN)
        turns = [index for index, token in enumerate(token_ids) if token == start]
        if len(turns) < 2:
            return ()
        return turns[1], turns[-1] + 1 + len(self.tokenizer.encode(HEADER_OF_ANSWER))

    def _check_length(self, text: str) -> None:
        """Refuses what cannot fit before all of it is read, which takes seconds for each megabyte."""
        step = CHARACTERS * self._max_text
        if len(text) <= step:
            return
        tokens = 0
        for start in range(0, len(text), step):
            tokens += len(self.tokenizer.encode(text[start : start + step], allow_special=True))
            if tokens > 2 * self._max_text:  # a token that is cut here may count several times
                about = tokens * len(text) // min(start + step, len(text))
                raise PromptTooLong(
                    f"the prompt is far too long: by its beginning it has about {about} tokens, and the context holds"
                    f" {self._max_context}; shorten it",
                    about, self._max_context,
                )  # fmt: skip

    def _load_all(self, rendered: RenderedPrompt, options: PromptOptions) -> list[tuple[Patches, list[float]]]:
        """Images and videos with the times of their frames, no more than fit: pixels take far more memory than
        files."""
        loaded = []
        tokens = 0
        for part in rendered.media:
            try:
                loaded.append(self._load(part, options))
            except MediaError as error:
                raise MediaError(str(error), part.source.get("place")) from error
            tokens += loaded[-1][0].tokens
            if tokens > self._max_context:
                raise PromptTooLong(
                    f"the images and videos have more than the {self._max_context} tokens that the context holds;"
                    " send fewer or smaller ones",
                    tokens + len(self.tokenizer.encode_template(rendered)), self._max_context,
                )  # fmt: skip
        return loaded

    def _load(self, part: MediaPart, options: PromptOptions) -> tuple[Patches, list[float]]:
        source = _source(part)
        if part.kind == "image":
            image_settings = _bounded(ImageSettings.from_config(self._checkpoint.image_processor), options)
            return preprocess_image(load_image(source), image_settings), []
        video_settings = _bounded(VideoSettings.from_config(self._checkpoint.video_processor), options)
        count = video_settings.max_frames if options.every_frame else options.num_frames
        if count is not None and not 1 <= count <= video_settings.max_frames:
            raise InvalidArgument(f"num_frames must be from 1 to {video_settings.max_frames}, not {count}")
        video = load_video(source, video_settings, options.fps, count, options.seconds)
        return preprocess_video(video, video_settings), video.timestamps


Settings = TypeVar("Settings", ImageSettings, VideoSettings)


def _bounded(settings: Settings, options: PromptOptions) -> Settings:
    """The settings with the pixels that a request asks for, of which the model's own are the most."""
    least = settings.min_pixels if options.min_pixels is None else options.min_pixels
    most = settings.max_pixels if options.max_pixels is None else options.max_pixels
    if least < 1 or most > settings.max_pixels:
        raise InvalidArgument(f"min_pixels and max_pixels must be from 1 to {settings.max_pixels}")
    if options.min_pixels is None:
        least = min(least, most)
    if least > most or most < settings.factor**2:
        raise InvalidArgument(
            f"max_pixels must be at least min_pixels and a token's {settings.factor**2}, not {most} with {least}"
        )
    return replace(settings, min_pixels=least, max_pixels=most)


def _own_variables(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a request may hand to the template. Raises InvalidArgument for what has a meaning of its own."""
    for name in given:
        if name in RESERVED_VARIABLES or not isinstance(name, str):
            raise InvalidArgument(f"the template's variable {name!r} cannot be set; leave it out")
    return dict(given)


def with_data_addresses(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages with images and videos as `data:` addresses, which need no files. Raises MediaError."""
    result = []
    for message in messages:
        content = message.get("content")
        if not isinstance(content, str | None):
            content = [_with_data_address(part) for part in content]
        result.append({**message, "content": content})
    return result


def _with_data_address(part: Mapping[str, Any]) -> Mapping[str, Any]:
    kind = MEDIA_KINDS.get(part_kind(part))
    if kind is None:
        return part
    contents = b64encode(source_bytes(_source(MediaPart(kind, part)), kind)).decode()
    return {"type": f"{kind}_url", f"{kind}_url": {"url": f"data:{kind}/any;base64,{contents}"}}


def _text_prompt(token_ids: list[int], partings: tuple[int, ...] | None = None) -> Prompt:
    """Without other partings, the same text may come again, or a longer one that begins with it."""
    count = len(token_ids)
    if count == 0:
        raise InvalidArgument("the prompt is empty")
    positions = np.broadcast_to(np.arange(count, dtype=np.int32), (3, count))
    return Prompt(token_ids, positions, count, partings=(count - 1,) if partings is None else partings)


def _source(part: MediaPart) -> Any:
    """What the content part points at: a path, a `data:` address, bytes or a picture."""
    value = part_source(part.source, part.kind)
    if value is None:
        raise MediaError(f"a content part of type {part.kind} names no {part.kind}")
    if isinstance(value, str) and value.startswith("file://"):
        return Path(value.removeprefix("file://"))
    return value
