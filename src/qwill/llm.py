"""The offline API: load a checkpoint, then generate, chat, or read logits."""

import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from qwill import options
from qwill.adapters import Adapters, Asked
from qwill.answer import Answer, Completion, StreamDelta
from qwill.effort import VARIABLE as EFFORT
from qwill.effort import budget
from qwill.engine.disk_cache import DiskCache, has_files
from qwill.engine.engine import PAGE_SIZE, TOKEN_BUDGET, Engine
from qwill.engine.readers import MeanState, PromptLogprobs, PromptReader
from qwill.engine.request import Prompt, Request
from qwill.engine.sampler import Sampler
from qwill.engine.sampling_params import SamplingParams
from qwill.engine.session import open_session, write_session
from qwill.errors import InvalidArgument, NotEnoughMemory, PromptTooLong
from qwill.guide import Guide, ToolChoice, Turn, turn_of
from qwill.model.config import ModelConfig, model_config
from qwill.model.model import Model
from qwill.ops import Operations, native_operations
from qwill.progress import answers_bar, report_to
from qwill.prompt import ChatPrompt, Message, PromptBuilder, PromptOptions, with_data_addresses
from qwill.system.memory import available_memory
from qwill.system.processors import performance_cores
from qwill.text.router import Router
from qwill.text.tokenizer import Tokenizer
from qwill.weights.adapters.spec import Given
from qwill.weights.checkpoint import Checkpoint, memory_needed
from qwill.weights.fingerprint import fingerprint
from qwill.weights.hub.cache import resolve_model
from qwill.weights.load import open_checkpoint

COUNTED = 2**20  # tokens of a prompt that is only counted, as many as any member of the family may be asked to read
PREPARED = 4  # prompts for each that can be answered at a time
log = logging.getLogger("qwill")
NEXT_QUESTION = {"role": "user", "content": "?"}
STATES_VERSION = 1  # of what the kernels leave in states and pages; another order of additions is another version
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
        max_sequences: int = options.DEFAULT_SEQUENCES,
        step_tokens: int = TOKEN_BUDGET,
        max_waiting: int | None = None,
        speculative: bool | int = False,
        prefix_cache: bool | int = True,
        disk_cache: str | Path | None = None,
        disk_cache_bytes: int = options.DISK_CACHE_BYTES,
        disk_cache_at_once: bool = True,
        lora: Given = None,
        progress: Callable[[int, int], None] | None = None,
        operations: Operations | None = None,
    ) -> None:
        """Loads `model`: "demo", a folder in released layout, a .gguf file, an alias or a downloaded repository.

        A checkpoint that is already open is taken as it is. max_context: tokens of a prompt and its answer together, by
        default the model's, at most 32,768. cache_tokens: room for the contexts of all that are answered at a time, by
        default one of max_context, which they share. threads: by default one a core. kv: type of cached keys and
        values, f32, f16 or q8_0; "auto" is f32 for f32 checkpoints, else f16.
        yarn: extends the context by that factor. isa: an instruction set by name. mmproj: the vision file of a GGUF
        model, by default the one beside it. max_sequences: how many are answered at a time, each with a recurrent state
        of its own. step_tokens: how many tokens of prompts are read between two tokens of the other answers, at most.
        max_waiting: how many more may wait for their turn; others are refused with Busy. By default there is no bound.
        speculative: whether the model's draft head guesses tokens ahead, which changes speed and no answer;
        a number is how many, otherwise as many as pay. prefix_cache: whether prompts that begin like earlier ones go
        on from there, which changes no answer either; a number is the bytes that the states kept for it may take,
        otherwise a quarter of the free memory, at most 2 GiB. disk_cache: a folder where they are kept beyond that and
        for the next start, up to `disk_cache_bytes`; with `disk_cache_at_once` false only what `keep` writes there.
        lora: adapters, each PATH or PATH=scale, which change all answers, or NAME=PATH=scale (also as a mapping), which
        change those that ask for NAME.
        progress: called with bytes loaded and bytes in all. operations: the functions that compute, instead of the
        kernels that threads and isa choose.
        Raises subclasses of UserError.
        """
        opened = model if isinstance(model, Checkpoint) else open_checkpoint(resolve_model(model), _path(mmproj))
        self.adapters = Adapters(lora, opened)
        self.checkpoint: Checkpoint = self.adapters.checkpoint
        self.config: ModelConfig = model_config(self.checkpoint.config, yarn)
        self.max_context = options.context(max_context, self.config)
        self.max_sequences = max_sequences
        if max_sequences < 1:
            raise InvalidArgument(f"max_sequences must be at least 1, not {max_sequences}")
        if max_waiting is not None and max_waiting < 0:
            raise InvalidArgument(f"max_waiting must be at least 0, not {max_waiting}")
        if yarn is not None and self.max_context <= self.config.text.rope.yarn_original_context:
            log.warning(
                "yarn: a context of %d needs none, and prompts are answered worse with it; leave it out or ask for more"
                " than %d", self.max_context, self.config.text.rope.yarn_original_context,
            )  # fmt: skip
        if step_tokens < 1:
            raise InvalidArgument(f"step_tokens must be at least 1, not {step_tokens}")
        cache_tokens = self.max_context if cache_tokens is None else max(cache_tokens, self.max_context)
        self._kv_type = kv_type = options.kv_type(kv, self.checkpoint, self.config)
        self._drafts = drafts = options.drafts(speculative)
        options.check_memory(
            self.checkpoint, self.config, kv_type, self.max_context, cache_tokens, max_sequences, self.adapters.nbytes
        )
        if operations is None:
            operations = native_operations(performance_cores() if threads is None else threads, isa)
        self.isa, self.threads = operations.name, operations.threads
        report = report_to(progress, memory_needed(self.checkpoint))
        self._model = Model(self.config, self.checkpoint.tensors, operations, self.checkpoint.v_heads_tiled, report)
        # A vocabulary takes about as long to build as weights to load, which needs no interpreter.
        with ThreadPoolExecutor(1) as beside:
            tokenizer = beside.submit(_tokenizer, self.checkpoint)
            self.adapters.load(operations)
            self._model.load()
            self._keeps = None if disk_cache is None or disk_cache_at_once else (disk_cache, disk_cache_bytes)
            on_disk = None
            if disk_cache is not None and (disk_cache_at_once or has_files(disk_cache)):
                on_disk = self._disk_cache(disk_cache, disk_cache_bytes, disk_cache_at_once)
            self.engine = Engine(
                self._model, cache_tokens, max_sequences, kv_type, step_tokens, drafts,
                options.snapshot_bytes(prefix_cache), on_disk, max_waiting,
            )  # fmt: skip
            self.tokenizer: Tokenizer | None = tokenizer.result()
        has_vision = self._model.vision is not None
        self._prompts = PromptBuilder(self.checkpoint, self.tokenizer, has_vision, self.max_context)
        self._counted = PromptBuilder(self.checkpoint, self.tokenizer, has_vision, self.max_context, COUNTED)
        self._eos_ids = _eos_ids(self.checkpoint, self.tokenizer)
        self._guide = Guide(self.tokenizer, self.config.text.vocab_size, self._eos_ids)

    def keep(self) -> None:
        """Writes what the prefix cache has in memory, where there is a disk cache that is written only now."""
        if self._keeps is not None:
            on_disk = self.engine.disk_cache or self._disk_cache(*self._keeps, at_once=False)
            self.engine.disk_cache = on_disk
            self.engine.write_snapshots(on_disk)

    def close(self) -> None:
        """Waits until the disk cache is written. The end of the program does so, too."""
        if self.engine.disk_cache is not None:
            self.engine.disk_cache.close()

    def generate(
        self,
        prompts: str | Sequence[str] | Sequence[Sequence[int]],
        params: SamplingParams | None = None,
        *,
        lora: Asked = None,
        progress: bool = False,
    ) -> list[Completion]:
        """Continues texts or token ids, together; answers come in the order of the prompts, of which there may be
        thousands. lora: see `reply`. progress: shows a bar on stderr.
        """
        texts: Sequence[Any] = [prompts] if isinstance(prompts, str) else prompts
        return self._finish((_told(self.answer(prompt, params, lora=lora)) for prompt in texts), len(texts), progress)

    def answer(
        self, prompt: str | Sequence[int], params: SamplingParams | None = None, *, lora: Asked = None
    ) -> Answer:
        """The answer to a text or to token ids, not begun yet; `steps` works on it. lora: see `reply`."""
        return self._answer(self._prompts.tokens(prompt), params, None, lora=lora)

    def embed(self, texts: str | Sequence[str] | Sequence[Sequence[int]], dimensions: int | None = None) -> np.ndarray:
        """[texts, dimensions] f32: for each text, or list of token ids, a vector of length 1, of texts that are alike
        vectors that are near. It is the mean of the last hidden states; `dimensions` of them are taken, all by default.
        These models were not trained for it: one that was tells texts apart much better.
        """
        given: Sequence[Any] = [texts] if isinstance(texts, str) else texts
        answers = [self.embedding(text, dimensions) for text in given]
        self._finish(iter(answers), len(answers))
        width = self.config.text.hidden_size if dimensions is None else dimensions
        return np.stack([answer.embedding for answer in answers]) if answers else np.empty((0, width), np.float32)

    def embedding(
        self, prompt: str | Sequence[int], dimensions: int | None = None, *, truncate: bool = False, lora: Asked = None
    ) -> Answer:
        """What reads a text or token ids for `embed`, not begun yet; `steps` works on it. `truncate`: of what does not
        fit into the context its beginning is read. Raises InvalidArgument, PromptTooLong.
        """
        size = self.config.text.hidden_size
        if dimensions is not None and not 1 <= dimensions <= size:
            raise InvalidArgument(f"dimensions must be from 1 to {size}, not {dimensions}")
        if truncate:
            prompt = self._counted.tokens(prompt).token_ids[: self.max_context]
        reader = MeanState(dimensions)
        return self._answer(self._prompts.tokens(prompt), None, None, reader=reader, reads_only=True, lora=lora)

    def steps(self, answers: Sequence[Answer]) -> Generator[None, None, None]:
        """Works on answers together and pauses after each step of the engine, until all are finished.

        Between steps a caller may read them, and end one that just got a token by setting its request's
        `finish_reason`. Closing the iterator cancels what is not finished.
        """
        waiting = {id(answer.request): answer for answer in answers}
        try:
            for answer in answers:
                self.engine.add(answer.request)
            while self.engine.has_work:
                grown = self.engine.step()
                for request in grown:
                    waiting[id(request)].advance()
                yield
                for request in grown:
                    if request.finish_reason is not None:
                        self.engine.cancel(request)
        finally:
            for answer in answers:
                self.engine.cancel(answer.request)

    @overload
    def chat(
        self, messages: Sequence[Message], params: SamplingParams | None = None, *,
        tools: Tools = None, tool_choice: ToolChoice = "auto", thinking: bool = True, stream: Literal[False] = False,
        fps: float | None = None, effort: str | None = None, lora: Asked = None,
    ) -> Completion: ...  # fmt: skip
    @overload
    def chat(
        self, messages: Sequence[Message], params: SamplingParams | None = None, *,
        tools: Tools = None, tool_choice: ToolChoice = "auto", thinking: bool = True, stream: Literal[True],
        fps: float | None = None, effort: str | None = None, lora: Asked = None,
    ) -> Iterator[StreamDelta]: ...  # fmt: skip
    @overload
    def chat(
        self, messages: Sequence[Sequence[Message]], params: SamplingParams | None = None, *,
        tools: Tools = None, tool_choice: ToolChoice = "auto", thinking: bool = True, stream: Literal[False] = False,
        fps: float | None = None, effort: str | None = None, lora: Asked = None,
    ) -> list[Completion]: ...  # fmt: skip
    def chat(self, messages: Any, params: SamplingParams | None = None, *, tools: Tools = None,
             tool_choice: ToolChoice = "auto", thinking: bool = True, stream: bool = False,
             fps: float | None = None, effort: str | None = None, lora: Asked = None) -> Any:  # fmt: skip
        """Answers a conversation, or a list of conversations with a list.

        messages: as in the OpenAI API, content as text or as parts with images (`image`, `image_url`) and videos
        (`video`, `video_url`): paths, `data:` addresses, bytes or Pillow images. tools: JSON schemas of functions.
        tool_choice: "auto", calls as the model likes, which fit the schemas of functions that say `strict`; "none";
        "required", nothing but calls that fit the schemas; or a function's name, nothing but calls of that one.
        stream: an iterator of StreamDelta; closing it cancels the answer. fps: frames a second taken from videos.
        effort: how much the model reasons: none, minimal, low, medium, high, xhigh or max. lora: see `reply`.
        """
        several = bool(messages) and not isinstance(messages[0], Mapping)
        conversations = messages if several else [messages]
        answers = (
            _told(
                self.reply(
                    conversation,
                    params,
                    tools=tools,
                    tool_choice=tool_choice,
                    thinking=thinking,
                    fps=fps,
                    effort=effort,
                    lora=lora,
                )
            )
            for conversation in conversations
        )
        if stream:
            if several:
                raise InvalidArgument("streaming takes one conversation at a time")
            return self._stream(next(answers))
        completions = self._finish(answers, len(conversations))
        return completions if several else completions[0]

    def reply(
        self, messages: Sequence[Message], params: SamplingParams | None = None, *,
        tools: Tools = None, tool_choice: ToolChoice = "auto", thinking: bool = True, fps: float | None = None,
        effort: str | None = None, options: PromptOptions | None = None, most_calls: int | None = None,
        lora: Asked = None,
    ) -> Answer:  # fmt: skip
        """The answer to a conversation as `chat` takes it, not begun yet; `steps` works on it.

        `options` say how the prompt is made, `fps` and `effort` being two of them. The answer ends after `most_calls`
        tool calls. `lora`: the name of an adapter that it is computed with, or names with scales.
        Any thread may call this while another one steps the engine.
        """
        options = options or PromptOptions(fps=fps, effort=effort)
        thinking = options.thinks(thinking)
        chat = self._prompts.conversation(messages, tools, thinking, options)
        params = _with_budget(params or SamplingParams(), options, chat)
        turn = turn_of(chat.opened, thinking, tools, tool_choice, params.structure is not None)
        router = Router(chat.opened, tools if turn.may_call else None, not turn.functions, chat.goes_on)
        answer = self._answer(chat.prompt, params, router, turn, lora=lora)
        answer.most_calls = most_calls
        answer.left_out += tuple(sorted(chat.unheard - {EFFORT}))
        return answer

    def prompt_tokens(
        self, messages: Sequence[Message], *, tools: Tools = None, thinking: bool = True,
        options: PromptOptions | None = None,
    ) -> list[int]:  # fmt: skip
        """The token ids of a conversation as `reply` reads it; its text may be longer than the context.

        Any thread may call this. Raises PromptTooLong for more than a million tokens, or more of images than fit.
        """
        return self._counted.conversation(messages, tools, thinking, options or PromptOptions()).prompt.token_ids

    def save_session(
        self, path: str | Path, messages: Sequence[Message], *, tools: Tools = None, thinking: bool = True,
        effort: str | None = None,
    ) -> int:  # fmt: skip
        """Writes a conversation to a file, its pictures and videos with it, and what the prefix cache has of it, so
        that a later start need not read it again. Returns the number of tokens that are kept. Raises SessionError.
        """
        # What comes next is a question, before which templates leave earlier reasoning out.
        answered = bool(messages) and messages[-1].get("role") == "assistant"
        asked = [*messages, *([NEXT_QUESTION] if answered else [])]
        prompt = self._prompts.conversation(asked, tools, thinking, PromptOptions(effort=effort)).prompt
        place, length, pages, states = self.engine.computed(prompt, self.adapters.asked(None))
        write_session(Path(path), self._fingerprint, with_data_addresses(messages), place, length, pages, states)
        return length

    def load_session(self, path: str | Path) -> list[dict[str, Any]]:
        """The messages of a saved conversation. The next prompt that begins with them goes on from what was kept, if
        this model with these options computed it. Raises SessionError.
        """
        session = open_session(Path(path))
        if session.model == self._fingerprint:
            self.engine.sessions = [other for other in self.engine.sessions if other.path != session.path] + [session]
        return session.messages

    def forward(self, token_ids: Sequence[int]) -> np.ndarray:
        """Logits [tokens, vocab] f32 after each of the tokens."""
        prompt = self._prompts.tokens(token_ids)
        size, available = 4 * len(token_ids) * self.config.text.vocab_size, available_memory()
        if size > available:
            raise NotEnoughMemory(
                f"logits of {len(token_ids)} tokens take {size / 1e9:.1f} GB, {available / 1e9:.1f} GB are free;"
                " take fewer tokens"
            )
        request = self._answer(prompt, None, None, reads_only=True).request
        return self.engine.prompt_logits(request)

    def _answer(
        self,
        prompt: Prompt,
        params: SamplingParams | None,
        router: Router | None,
        turn: Turn | None = None,
        reader: PromptReader | None = None,
        reads_only: bool = False,
        lora: Asked = None,
    ) -> Answer:
        """A request that is ready to be added, and what reads its tokens. `reads_only`: no answer has to fit."""
        resolved = (params or SamplingParams()).resolve(self.checkpoint.generation_config)
        if resolved.prompt_logprobs is not None:
            reader = PromptLogprobs(prompt.token_ids, resolved.prompt_logprobs)
        writes = not reads_only and resolved.max_tokens != 0
        room = self.max_context - len(prompt.token_ids)
        if room < writes:
            tokens = len(prompt.token_ids)
            raise PromptTooLong(
                f"the prompt has {tokens} tokens and the context holds {self.max_context};"
                " shorten it or ask for a longer context",
                tokens, min(self.max_context, tokens - 1),
            )  # fmt: skip
        most = min(resolved.max_tokens or room, room) if writes else 1
        resolved = replace(resolved, max_tokens=most, min_tokens=min(resolved.min_tokens, most))
        rules = self._guide.rules(resolved, prompt.token_ids, turn)
        end_ids = (frozenset() if resolved.ignore_eos else self._eos_ids) | {*resolved.stop_token_ids}
        sampler = Sampler(resolved, self.config.text.vocab_size, prompt.token_ids, rules, end_ids)
        adapters = self.adapters.asked(lora)
        request = Request(prompt, resolved, sampler, end_ids, reader=reader, writes=writes, adapters=adapters)
        answer = Answer(request, self.tokenizer, router)
        answer.left_out = rules.left_out if rules is not None else ()
        return answer

    def _finish(self, answers: Iterator[Answer], count: int, progress: bool = False) -> list[Completion]:
        """All answers, of which no more are under way or prepared than the engine can use soon."""
        completions: list[Completion | None] = [None] * count
        under_way: dict[int, tuple[int, Answer]] = {}
        bound = self.engine.max_waiting
        window = PREPARED * self.max_sequences
        if bound is not None:
            window = min(window, self.max_sequences + bound)
        with answers_bar(progress, count) as advance:
            try:
                for index, answer in enumerate(answers):
                    self.engine.add(answer.request)
                    under_way[id(answer.request)] = index, answer
                    while len(under_way) >= window or (index + 1 == count and under_way):
                        for request in self.engine.step():
                            place, grown = under_way[id(request)]
                            grown.advance()
                            if request.finish_reason is not None:
                                self.engine.cancel(request)
                                completions[place] = grown.completion()
                                del under_way[id(request)]
                                advance()
            finally:
                for _, answer in under_way.values():
                    self.engine.cancel(answer.request)
        return [completion for completion in completions if completion is not None]

    def _stream(self, answer: Answer) -> Iterator[StreamDelta]:
        answer.request.streamed = True
        self.engine.add(answer.request)
        try:
            while answer.request.finish_reason is None:
                if self.engine.step():
                    yield from answer.advance()
        finally:
            self.engine.cancel(answer.request)

    @cached_property
    def _fingerprint(self) -> str:
        """Stands for all that saved states depend on: the weights, how they are computed, and what is kept."""
        options = {"kv": self._kv_type.name, "isa": self.isa, "rope": self.config.text.rope, "page": PAGE_SIZE,
                   "drafts": self._drafts != 0 and self._model.mtp is not None, "version": STATES_VERSION}  # fmt: skip
        return fingerprint(self.checkpoint, options)

    def _disk_cache(self, folder: str | Path, size: int, at_once: bool) -> DiskCache:
        try:
            return DiskCache(Path(folder).expanduser(), self._fingerprint, size, at_once)
        except OSError as error:
            raise InvalidArgument(
                f"disk_cache {folder}: {error.strerror}; give a folder that can be written"
            ) from error


def _with_budget(params: SamplingParams, options: PromptOptions, chat: ChatPrompt) -> SamplingParams:
    """With a bound on the reasoning in place of an effort that the template does not know."""
    if options.effort is None or EFFORT not in chat.unheard or params.max_thinking_tokens is not None:
        return params
    return replace(params, max_thinking_tokens=budget(options.effort) if chat.opened else None)


def _told(answer: Answer) -> Answer:
    """The answer, of which the log says what it is not held to."""
    if answer.left_out:
        log.warning("answers cannot be held to %s; it is left out", ", ".join(answer.left_out))
    return answer


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)


def _tokenizer(checkpoint: Checkpoint) -> Tokenizer | None:
    rows = checkpoint.tensors.peek("embed_tokens.weight").shape[0]
    if checkpoint.tokenizer_json is not None:
        tokenizer = Tokenizer.from_file(checkpoint.tokenizer_json)
        tokenizer.check_rows(rows, checkpoint.tokenizer_json)
        return tokenizer
    if checkpoint.vocabulary is None:
        return None
    words = checkpoint.vocabulary
    tokenizer = Tokenizer.from_vocabulary(words.tokens, words.merges, words.token_types, words.pre)
    tokenizer.check_rows(rows, checkpoint.path)
    words.give_back()
    return tokenizer


def _eos_ids(checkpoint: Checkpoint, tokenizer: Tokenizer | None) -> frozenset[int]:
    """Tokens that end an answer: the checkpoint's own, and the family's two."""
    stated = checkpoint.generation_config.get("eos_token_id", [])
    ids = set(stated if isinstance(stated, list) else [stated])
    if tokenizer is not None:
        ids |= {tokenizer.added_tokens[text] for text in END_OF_TURN if text in tokenizer.added_tokens}
    return frozenset(token for token in ids if token is not None)
