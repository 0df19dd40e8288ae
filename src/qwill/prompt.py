"""Conversations and texts become prompts: template, media, tokens, positions."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qwill.engine.request import Prompt
from qwill.errors import CheckpointError, InvalidArgument, MediaError
from qwill.media.image import ImageSettings, load_image, preprocess_image, source_bytes
from qwill.media.patches import Patches
from qwill.media.placement import Kind, MediaTokenIds, place, placeholder_text
from qwill.media.video import VideoSettings, load_video, preprocess_video
from qwill.text.chat_template import DEFAULT_TEMPLATE, MEDIA_KINDS, ChatTemplate, part_kind
from qwill.text.prompt import MediaPart
from qwill.text.tokenizer import Tokenizer
from qwill.weights.load import Checkpoint

Message = Mapping[str, Any]
START_OF_TURN = "<|im_start|>"
HEADER_OF_ANSWER = "assistant\n"


class PromptBuilder:
    """Knows a checkpoint's tokenizer, template and media settings."""

    def __init__(self, checkpoint: Checkpoint, tokenizer: Tokenizer | None, has_vision: bool) -> None:
        self._checkpoint = checkpoint
        self._tokenizer = tokenizer
        self._has_vision = has_vision
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
        fps: float | None = None,
    ) -> tuple[Prompt, bool]:
        """The prompt of a conversation, and whether it ends inside an opened `<think>`.

        `fps`: frames a second taken from videos. Raises TemplateError, MediaError.
        """
        if self._template is None:
            source = self._checkpoint.chat_template or DEFAULT_TEMPLATE
            self._template = ChatTemplate(source, self.tokenizer.added_tokens)
        rendered = self._template.render(messages, tools, enable_thinking=thinking)
        opened = rendered.opens_reasoning
        if not rendered.media:
            return _text_prompt(
                token_ids := self.tokenizer.encode_template(rendered), self._partings(token_ids)
            ), opened
        if not self._has_vision:
            raise MediaError(f"{self._checkpoint.path}: has no vision tower; leave images and videos out")
        loaded = [self._load(part, fps) for part in rendered.media]
        kinds: list[Kind] = ["image" if part.kind == "image" else "video" for part in rendered.media]
        texts = [placeholder_text(kind, patches, times) for kind, (patches, times) in zip(kinds, loaded, strict=True)]
        token_ids = self.tokenizer.encode_template(rendered.expand_media(texts))
        media = [(kind, patches) for kind, (patches, _) in zip(kinds, loaded, strict=True)]
        positions, after, runs = place(token_ids, media, MediaTokenIds.from_config(self._checkpoint.config))
        partings = (*self._partings(token_ids), runs[-1].start + runs[-1].length)
        return Prompt(token_ids, positions, after, runs, partings), opened

    def _partings(self, token_ids: list[int]) -> tuple[int, ...]:
        """Where conversations part: after a system message that others begin with, too, and where the answer begins,
        whose reasoning a template leaves out of the next turn.
        """
        start = self.tokenizer.added_tokens.get(START_OF_TURN)
        turns = [index for index, token in enumerate(token_ids) if token == start]
        if len(turns) < 2:
            return ()
        return turns[1], turns[-1] + 1 + len(self.tokenizer.encode(HEADER_OF_ANSWER))

    def _load(self, part: MediaPart, fps: float | None) -> tuple[Patches, list[float]]:
        source = _source(part)
        if part.kind == "image":
            image_settings = ImageSettings.from_config(self._checkpoint.image_processor)
            return preprocess_image(load_image(source), image_settings), []
        video_settings = VideoSettings.from_config(self._checkpoint.video_processor)
        video = load_video(source, video_settings, fps)
        return preprocess_video(video, video_settings), video.timestamps


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
    keys = (f"{part.kind}_url", part.kind, "url", "path")
    value = next((part.source[key] for key in keys if part.source.get(key)), None)
    if isinstance(value, Mapping):
        value = value.get("url")
    if value is None:
        raise MediaError(f"a content part of type {part.kind} names no {part.kind}")
    if isinstance(value, str) and value.startswith("file://"):
        return Path(value.removeprefix("file://"))
    return value
