"""From examples to qwill's answers, through its public API only."""

import io
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import av
import numpy as np
from PIL import Image

from qwill import LLM, Completion, SamplingParams
from qwill.text.router import Router
from training.examples import Example, Picture, Video

GREEDY = SamplingParams(temperature=0, max_tokens=200)
OBJECT_SCHEMA = '{"type": "object"'


class Turn(NamedTuple):
    """One prompt, and what has to come after it (and after the reasoning, of which nothing is expected).

    `calls`: name and arguments of each expected tool call; `schema`: what JSON is asked for, None for anything else.
    """

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    thinking: bool
    raw: bool
    text: str
    calls: list[dict[str, Any]]
    schema: dict[str, Any] | None = None


def clip(video: Video) -> bytes:
    """A lossless film of the frames, one for each tick of the clock."""
    memory = io.BytesIO()
    with av.open(memory, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=round(video.fps))
        stream.height, stream.width = video.frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for pixels in video.frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="bgr0")))
        container.mux(stream.encode())
    return memory.getvalue()


def content_part(media: Picture | Video) -> dict[str, Any]:
    if isinstance(media, Picture):
        return {"type": "image", "image": Image.fromarray(media.pixels)}
    return {"type": "video", "video": clip(media)}


def with_media(example: Example) -> list[dict[str, Any]]:
    """The messages with the pictures and videos in their places."""
    if not example.media:
        return example.messages
    media = iter(example.media)
    result = []
    for message in example.messages:
        content = message["content"]
        if isinstance(content, list):
            content = [part if part["type"] == "text" else content_part(next(media)) for part in content]
        result.append({**message, "content": content})
    return result


def asked_schema(example: Example) -> dict[str, Any]:
    """The schema in the question of a JSON task."""
    question = example.messages[-1]["content"]
    schema: dict[str, Any] = json.JSONDecoder().raw_decode(question, question.index(OBJECT_SCHEMA))[0]
    return schema


def spoken(answer: str, tools: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """An expected answer as text and calls with typed arguments."""
    router = Router(False, tools)
    deltas = router.feed(answer) + router.finish()
    calls = [delta.tool_call for delta in deltas if delta.tool_call is not None]
    text = "".join(delta.text for delta in deltas if delta.kind == "content")
    return text, [{"name": call.name, "arguments": call.arguments} for call in calls]


def turns(example: Example) -> Iterator[Turn]:
    """The answer, and before it every call that the assistant makes after the last question, each as a prompt of its
    own with the right history before it.
    """
    messages = with_media(example)
    common = (example.tools, example.thinking, example.raw)
    question = max(index for index, message in enumerate(messages) if message["role"] == "user")
    for index, message in enumerate(messages):
        if index > question and message["role"] == "assistant":
            calls = [call["function"] for call in message["tool_calls"]]
            yield Turn(messages[:index], *common, message["content"], calls)
    text, calls = spoken(example.answer, example.tools)
    yield Turn(messages, *common, text, calls, asked_schema(example) if example.task.startswith("JSON") else None)


def answers(llm: LLM, asked: list[Turn]) -> list[Completion]:
    """qwill's greedy answers in the order of the turns; turns with the same tools are answered together."""
    groups: dict[tuple[bool, bool, str], list[int]] = defaultdict(list)
    for index, turn in enumerate(asked):
        groups[turn.raw, turn.thinking, json.dumps(turn.tools)].append(index)
    result: dict[int, Completion] = {}
    for (raw, thinking, _), indices in groups.items():
        conversations = [asked[index].messages for index in indices]
        if raw:
            given = llm.generate([messages[0]["content"] for messages in conversations], GREEDY)
        else:
            given = llm.chat(conversations, GREEDY, tools=asked[indices[0]].tools or None, thinking=thinking)
        result |= zip(indices, given, strict=True)
    return [result[index] for index in range(len(asked))]
