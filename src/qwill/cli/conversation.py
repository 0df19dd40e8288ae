"""A conversation with a model: its messages, and answers to them."""

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

from qwill.answer import Completion, StreamDelta
from qwill.cli.printer import AnswerPrinter
from qwill.engine.sampling_params import SamplingParams
from qwill.errors import InvalidArgument

if TYPE_CHECKING:
    from qwill.llm import LLM


class Conversation:
    """`messages` are in the OpenAI form; the last one is to be answered."""

    def __init__(
        self, llm: "LLM", params: SamplingParams, thinking: bool, fps: float | None = None, effort: str | None = None
    ) -> None:
        self.llm = llm
        self.params = params
        self.thinking = thinking
        self.options: dict[str, Any] = {"fps": fps} | ({} if effort is None else {"effort": effort})
        self.messages: list[dict[str, Any]] = []

    def set_system(self, text: str) -> None:
        """Puts the system message in front, in place of an earlier one. Raises InvalidArgument for broken text."""
        message = {"role": "system", "content": check_text(text, "the system message")}
        self.messages = [message, *(other for other in self.messages if other["role"] != "system")]

    def save(self, path: str) -> str:
        """Writes the conversation to a file; returns what to tell about it. Raises SessionError."""
        if not any(message["role"] == "user" for message in self.messages):
            raise InvalidArgument("there is nothing to save yet")
        tokens = self.llm.save_session(path, self.messages, thinking=self.thinking, effort=self.options.get("effort"))
        return f"(saved to {path}: {len(self.messages)} messages, {tokens} tokens that need not be read again)"

    def load(self, path: str) -> str:
        """Takes the messages of a saved conversation in place of these. Raises SessionError."""
        self.messages = self.llm.load_session(path)
        return f"(loaded {path}: {len(self.messages)} messages)"

    def complete(self) -> Completion:
        """The whole answer at once."""
        return self.llm.chat(self.messages, self.params, thinking=self.thinking, **self.options)

    def stream(self, printer: AnswerPrinter) -> Completion:
        """Shows the answer as it comes and adds it to the messages, also what was said until an exception."""
        said = {"content": "", "reasoning": ""}
        completion: Completion | None = None
        try:
            with closing(self._deltas()) as deltas:
                for delta in deltas:
                    if delta.completion is not None:
                        completion = delta.completion
                    elif delta.kind in said:
                        said[delta.kind] += delta.text
                    printer.write(delta)
        finally:
            if any(said.values()) or completion is not None:
                self.messages.append(_assistant_message(said["content"], said["reasoning"]))
        assert completion is not None, "the stream ended without its last piece"
        return completion

    def _deltas(self) -> Generator[StreamDelta, None, None]:
        deltas = self.llm.chat(self.messages, self.params, thinking=self.thinking, stream=True, **self.options)
        return cast(Generator[StreamDelta, None, None], deltas)


def user_message(text: str, images: Sequence[str] = (), videos: Sequence[str] = ()) -> dict[str, Any]:
    """A user's message; images and videos come before the text, as the model was trained."""
    if not images and not videos:
        return {"role": "user", "content": text}
    parts: list[dict[str, str]] = [{"type": "image", "image": image} for image in images]
    parts += [{"type": "video", "video": video} for video in videos]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def check_text(text: str, what: str) -> str:
    """`text`, unless it came from bytes that are not UTF-8: then raises InvalidArgument."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{what} is not valid UTF-8") from error
    return text


def _assistant_message(content: str, reasoning: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return message | {"reasoning_content": reasoning} if reasoning else message
