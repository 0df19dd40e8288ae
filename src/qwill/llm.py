"""The offline API: load a checkpoint, then generate, chat, or read logits."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Literal, overload

import numpy as np

from qwill.answer import Answer, Completion, StreamDelta
from qwill.engine.engine import PAGE_SIZE, Engine
from qwill.engine.request import Prompt, Request
from qwill.engine.sampler import Sampler
from qwill.engine.sampling_params import SamplingParams
from qwill.errors import InvalidArgument, NotEnoughMemory, PromptTooLong
from qwill.fit.hardware import available_memory, physical_cores
from qwill.model.batch import KV_DTYPES, cache_bytes
from qwill.model.config import ModelConfig, model_config
from qwill.model.model import Model
from qwill.ops import native_operations
from qwill.prompt import Message, PromptBuilder
from qwill.quant.types import TYPES, TensorType
from qwill.text.router import Router
from qwill.text.tokenizer import Tokenizer
from qwill.weights.hub import resolve_model
from qwill.weights.load import Checkpoint, memory_needed, open_checkpoint

DEFAULT_CONTEXT = 32_768
END_OF_TURN = ("<|im_end|>", "<|endoftext|>")
Tools = Sequence[Mapping[str, Any]] | None


class LLM:
    """A model ready to answer. One thread uses it at a time."""

    def __init__(
        self,
        model: str | Checkpoint = "demo",
        *,
        max_context: int | None = None,
        cache_tokens: int | None = None,
        threads: int | None = None,
        kv: str = "auto",
        yarn: float | None = None,
        isa: str = "",
        mmproj: str | None = None,
        max_sequences: int = 16,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Loads `model`: "demo", a folder in released layout, a .gguf file, an alias or a downloaded repository.

        A checkpoint that is already open is taken as it is. max_context: tokens of a prompt and its answer together, by
        default the model's, at most 32,768. cache_tokens: room for the contexts of all that are answered at a time, by
        default one of max_context, which they share. threads: by default one a core. kv: type of cached keys and
        values, f32, f16 or q8_0; "auto" is f32 for f32 checkpoints, else f16.
        yarn: extends the context by that factor. isa: an instruction set by name. mmproj: the vision file of a GGUF
        model, by default the one beside it. max_sequences: how many are answered at a time, each with a recurrent state
        of its own. progress: called with bytes loaded and bytes in all. Raises subclasses of UserError.
        """
        self.checkpoint: Checkpoint = (
            model if isinstance(model, Checkpoint) else open_checkpoint(resolve_model(model), _path(mmproj))
        )
        self.config: ModelConfig = model_config(self.checkpoint.config, yarn)
        self.max_context = _context(max_context, self.config)
        if max_sequences < 1:
            raise InvalidArgument(f"max_sequences must be at least 1, not {max_sequences}")
        cache_tokens = self.max_context if cache_tokens is None else max(cache_tokens, self.max_context)
        kv_type = _kv_type(kv, self.checkpoint, self.config)
        self._check_memory(kv_type, cache_tokens, max_sequences)
        operations = native_operations(physical_cores() if threads is None else threads, isa)
        self.isa, self.threads = operations.name, operations.threads
        report = _report_to(progress, memory_needed(self.checkpoint))
        self._model = Model(self.config, self.checkpoint.tensors, operations, self.checkpoint.v_heads_tiled, report)
        # A vocabulary takes about as long to build as weights to load, which needs no interpreter.
        with ThreadPoolExecutor(1) as beside:
            tokenizer = beside.submit(_tokenizer, self.checkpoint)
            self._model.load()
            self._engine = Engine(self._model, cache_tokens, max_sequences, kv_type)
            self.tokenizer: Tokenizer | None = tokenizer.result()
        self._prompts = PromptBuilder(self.checkpoint, self.tokenizer, self._model.vision is not None)
        self._eos_ids = _eos_ids(self.checkpoint, self.tokenizer)

    def generate(
        self, prompts: str | Sequence[str] | Sequence[Sequence[int]], params: SamplingParams | None = None
    ) -> list[Completion]:
        """Continues texts or token ids, together; answers come in the order of the prompts."""
        texts: list[Any] = [prompts] if isinstance(prompts, str) else list(prompts)
        return self._finish([self.answer(prompt, params) for prompt in texts])

    def answer(self, prompt: str | Sequence[int], params: SamplingParams | None = None) -> Answer:
        """The answer to a text or to token ids, not begun yet; `steps` works on it."""
        return self._answer(self._prompts.tokens(prompt), params, None)

    def steps(self, answers: Sequence[Answer]) -> Generator[None, None, None]:
        """Works on answers together and pauses after each step of the engine, until all are finished.

        Between steps a caller may read them, and end one that just got a token by setting its request's
        `finish_reason`. Closing the iterator cancels what is not finished.
        """
        waiting = {id(answer.request): answer for answer in answers}
        for answer in answers:
            self._engine.add(answer.request)
        try:
            while self._engine.has_work:
                grown = self._engine.step()
                for request in grown:
                    waiting[id(request)].advance()
                yield
                for request in grown:
                    if request.finish_reason is not None:
                        self._engine.cancel(request)
        finally:
            for answer in answers:
                self._engine.cancel(answer.request)

    @overload
    def chat(
        self, messages: Sequence[Message], params: SamplingParams | None = None, *,
        tools: Tools = None, thinking: bool = True, stream: Literal[False] = False, fps: float | None = None,
    ) -> Completion: ...  # fmt: skip
    @overload
    def chat(
        self, messages: Sequence[Message], params: SamplingParams | None = None, *,
        tools: Tools = None, thinking: bool = True, stream: Literal[True], fps: float | None = None,
    ) -> Iterator[StreamDelta]: ...  # fmt: skip
    @overload
    def chat(
        self, messages: Sequence[Sequence[Message]], params: SamplingParams | None = None, *,
        tools: Tools = None, thinking: bool = True, stream: Literal[False] = False, fps: float | None = None,
    ) -> list[Completion]: ...  # fmt: skip
    def chat(self, messages: Any, params: SamplingParams | None = None, *, tools: Tools = None, thinking: bool = True,
             stream: bool = False, fps: float | None = None) -> Any:  # fmt: skip
        """Answers a conversation, or a list of conversations with a list.

        messages: as in the OpenAI API, content as text or as parts with images (`image`, `image_url`) and videos
        (`video`, `video_url`): paths, `data:` addresses, bytes or Pillow images. tools: JSON schemas of functions.
        stream: an iterator of StreamDelta; closing it cancels the answer. fps: frames a second taken from videos.
        """
        several = bool(messages) and not isinstance(messages[0], Mapping)
        conversations = messages if several else [messages]
        answers = []
        for conversation in conversations:
            prompt, opened = self._prompts.conversation(conversation, tools, thinking, fps)
            answers.append(self._answer(prompt, params, Router(opened, tools)))
        if stream:
            if several:
                raise InvalidArgument("streaming takes one conversation at a time")
            return self._stream(answers[0])
        completions = self._finish(answers)
        return completions if several else completions[0]

    def forward(self, token_ids: Sequence[int]) -> np.ndarray:
        """Logits [tokens, vocab] f32 after each of the tokens."""
        prompt = self._prompts.tokens(token_ids)
        size, available = 4 * len(token_ids) * self.config.text.vocab_size, available_memory()
        if size > available:
            raise NotEnoughMemory(
                f"logits of {len(token_ids)} tokens take {size / 1e9:.1f} GB, {available / 1e9:.1f} GB are free;"
                " take fewer tokens"
            )
        request = self._answer(prompt, SamplingParams(temperature=0, max_tokens=1), None, reserve=0).request
        return self._engine.prompt_logits(request)

    def _answer(self, prompt: Prompt, params: SamplingParams | None, router: Router | None, reserve: int = 1) -> Answer:
        """A request that is ready to be added, and what reads its tokens."""
        room = self.max_context - len(prompt.token_ids)
        if room < reserve:
            raise PromptTooLong(
                f"the prompt has {len(prompt.token_ids)} tokens and the context holds {self.max_context};"
                " shorten it or ask for a longer context"
            )
        resolved = (params or SamplingParams()).resolve(self.checkpoint.generation_config)
        resolved = replace(resolved, max_tokens=min(resolved.max_tokens or room, max(room, 1)))
        sampler = Sampler(resolved, self.config.text.vocab_size, prompt.token_ids)
        return Answer(Request(prompt, resolved, sampler, self._eos_ids), self.tokenizer, router)

    def _finish(self, answers: list[Answer]) -> list[Completion]:
        for _ in self.steps(answers):
            pass
        return [answer.completion() for answer in answers]

    def _stream(self, answer: Answer) -> Iterator[StreamDelta]:
        self._engine.add(answer.request)
        try:
            while answer.request.finish_reason is None:
                if self._engine.step():
                    yield from answer.advance()
        finally:
            self._engine.cancel(answer.request)

    def _check_memory(self, kv_type: TensorType, cache_tokens: int, max_sequences: int) -> None:
        weights = memory_needed(self.checkpoint)
        cache = cache_bytes(self.config.text, cache_tokens // PAGE_SIZE + 1, PAGE_SIZE, max_sequences, kv_type)
        available = available_memory()
        if weights + cache > available:
            held = f"a context of {self.max_context}"
            if cache_tokens >= 2 * self.max_context:
                held = f"{max_sequences} contexts of {cache_tokens // max_sequences}"
            raise NotEnoughMemory(
                f"{self.checkpoint.path}: needs {weights / 1e9:.1f} GB for weights and {cache / 1e9:.1f} GB for {held},"
                f" {available / 1e9:.1f} GB are free; take a smaller file or context"
            )


def _path(name: str | None) -> Any:
    from pathlib import Path

    return None if name is None else Path(name)


def _context(asked: int | None, config: ModelConfig) -> int:
    limit = config.text.max_position_embeddings
    if asked is None:
        return min(limit, DEFAULT_CONTEXT) if config.text.rope.yarn_factor is None else limit
    if not 1 <= asked <= limit:
        raise InvalidArgument(f"a context of {asked} is outside 1 to {limit}; YaRN extends it (yarn=4)")
    return asked


def _kv_type(kv: str, checkpoint: Checkpoint, config: ModelConfig) -> TensorType:
    if kv == "auto":
        kv = "f32" if checkpoint.tensors.peek("embed_tokens.weight").type.name == "F32" else "f16"
    if kv.upper() not in KV_DTYPES:
        raise InvalidArgument(f"kv {kv!r} is not one of auto, {', '.join(name.lower() for name in KV_DTYPES)}")
    kv_type = TYPES[kv.upper()]
    if config.text.head_dim % kv_type.block_elements:
        raise InvalidArgument(f"kv {kv} needs heads of whole blocks of {kv_type.block_elements}; take f16")
    return kv_type


def _report_to(progress: Callable[[int, int], None] | None, total: int) -> Callable[[int], None] | None:
    if progress is None:
        return None
    done = 0

    def report(loaded: int) -> None:
        nonlocal done
        done += loaded
        progress(done, total)

    return report


def _tokenizer(checkpoint: Checkpoint) -> Tokenizer | None:
    if checkpoint.tokenizer_json is not None:
        return Tokenizer.from_file(checkpoint.tokenizer_json)
    if checkpoint.vocabulary is None:
        return None
    words = checkpoint.vocabulary
    return Tokenizer.from_vocabulary(words.tokens, words.merges, words.token_types, words.pre)


def _eos_ids(checkpoint: Checkpoint, tokenizer: Tokenizer | None) -> frozenset[int]:
    """Tokens that end an answer: the checkpoint's own, and the family's two."""
    stated = checkpoint.generation_config.get("eos_token_id", [])
    ids = set(stated if isinstance(stated, list) else [stated])
    if tokenizer is not None:
        ids |= {tokenizer.added_tokens[text] for text in END_OF_TURN if text in tokenizer.added_tokens}
    return frozenset(token for token in ids if token is not None)
