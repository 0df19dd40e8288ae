"""The offline API on tiny random checkpoints, and what it says to bad input."""

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import TinyCheckpoint, save_hf, tiny_config
from gguf_checkpoints import save_as_float32, save_gguf
from PIL import Image

from qwill import LLM, SamplingParams
from qwill.errors import (
    CheckpointError,
    InvalidArgument,
    MediaError,
    ModelNotFound,
    NotEnoughMemory,
    PromptTooLong,
    TemplateError,
    UnsupportedModel,
)
from qwill.prompt import PromptOptions
from qwill.weights.hub.cache import resolve_model
from qwill.weights.load import open_checkpoint

GREEDY = SamplingParams(temperature=0, max_tokens=12)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    folder = tmp_path_factory.mktemp("llm") / "model"
    return save_hf(folder, tiny_config(moe=True, vision=True), seed=5, tokenizer=True)


@pytest.fixture(scope="module")
def llm(made: TinyCheckpoint) -> LLM:
    return LLM(str(made.folder), max_context=256, threads=2)


@pytest.fixture
def copy(made: TinyCheckpoint, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.folder, tmp_path / "model"))


def test_forward_equals_the_reference(llm: LLM, made: TinyCheckpoint) -> None:
    token_ids = np.random.default_rng().integers(0, 288, 33)
    with torch.no_grad():
        expected = made.model(input_ids=torch.tensor(token_ids[None])).logits[0].numpy()
    got = llm.forward(token_ids.tolist())
    assert np.abs(got - expected).max() <= 2e-4 * np.ptp(expected)


def test_generate_many_prompts_in_order(llm: LLM) -> None:
    prompts = [[index + 1] * (5 * index + 1) for index in range(20)]  # more than run at a time
    together = llm.generate(prompts, GREEDY)
    assert [answer.token_ids for answer in together] == [llm.generate([p], GREEDY)[0].token_ids for p in prompts]
    assert [answer.usage["prompt_tokens"] for answer in together] == [len(p) for p in prompts]


def test_seeded_text_does_not_depend_on_company(llm: LLM) -> None:
    params = SamplingParams(temperature=1.5, top_k=0, top_p=1, seed=11, max_tokens=12)
    together = llm.generate(["the inner", "and the other", "ran"], params)
    alone = [llm.generate(text, params)[0] for text in ("the inner", "and the other", "ran")]
    assert [answer.token_ids for answer in together] == [answer.token_ids for answer in alone]
    other = llm.generate("the inner", SamplingParams(temperature=1.5, top_k=0, top_p=1, seed=12, max_tokens=12))
    assert other[0].token_ids != alone[0].token_ids


def test_logprobs_are_the_log_softmax(llm: LLM) -> None:
    answer = llm.generate("the", SamplingParams(temperature=0, max_tokens=5, logprobs=3))[0]
    assert answer.logprobs is not None
    prompt = llm.tokenizer.encode("the")
    logits = llm.forward(prompt + answer.token_ids[:-1])[len(prompt) - 1 :].astype(np.float64)
    logprobs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    for step, entry in enumerate(answer.logprobs):
        assert entry.token_id == answer.token_ids[step]
        assert entry.logprob == pytest.approx(logprobs[step, entry.token_id], abs=1e-4)
        assert [token for token, _ in entry.top] == np.argsort(-logprobs[step], kind="stable")[:3].tolist()


def test_stream_equals_the_whole_answer(llm: LLM) -> None:
    messages = [{"role": "user", "content": "ran the inner"}]
    whole = llm.chat(messages, GREEDY)
    deltas = list(llm.chat(messages, GREEDY, stream=True))
    assert deltas[-1].kind == "finish"
    assert deltas[-1].completion.token_ids == whole.token_ids
    assert "".join(d.text for d in deltas if d.kind == "reasoning") == whole.reasoning
    assert "".join(d.text for d in deltas if d.kind == "content") == whole.text


def test_closing_a_stream_frees_everything(llm: LLM) -> None:
    stream = llm.chat([{"role": "user", "content": "x"}], GREEDY, stream=True)
    next(stream)
    stream.close()
    llm.engine.scheduler.check_integrity()


def test_given_tokens_are_read_like_a_prompt(llm: LLM) -> None:
    """To the bit: extended by 70 tokens at once, an answer goes on as after a prompt that has them all."""
    rng = np.random.default_rng()
    prompts, given = (rng.integers(0, 288, (2, count)).tolist() for count in (5, 70))
    params = SamplingParams(temperature=0, max_tokens=90, repetition_penalty=1.1, ignore_eos=True)
    answers = [llm.answer(prompt, params) for prompt in prompts]
    steps = llm.steps(answers)
    next(steps)
    first = [answer.request.output_ids[0] for answer in answers]
    for answer, tokens in zip(answers, given, strict=True):
        answer.request.extend(tokens)
    list(steps)
    whole = [[*prompt, token, *tokens] for prompt, token, tokens in zip(prompts, first, given, strict=True)]
    # repetition counts prompt and answer alike
    expected = llm.generate(
        whole, SamplingParams(temperature=0, max_tokens=19, repetition_penalty=1.1, ignore_eos=True)
    )
    assert [answer.request.output_ids[71:] for answer in answers] == [done.token_ids for done in expected]
    assert [answer.completion().usage["completion_tokens"] for answer in answers] == [90, 90]
    llm.engine.scheduler.check_integrity()


def test_an_answer_can_be_ended_between_steps(llm: LLM) -> None:
    params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
    answers = [llm.answer([token], params) for token in (1, 2)]
    for _ in llm.steps(answers):
        if len(answers[0].request.output_ids) == 3:
            answers[0].request.finish_reason = "stop"
    assert [len(answer.request.output_ids) for answer in answers] == [3, 12]
    llm.engine.scheduler.check_integrity()


def test_closing_the_steps_cancels_what_is_left(llm: LLM) -> None:
    steps = llm.steps([llm.answer([token], GREEDY) for token in range(20)])
    next(steps)
    steps.close()
    llm.engine.scheduler.check_integrity()


def test_room_for_several_long_contexts(made: TinyCheckpoint, llm: LLM) -> None:
    wide = LLM(open_checkpoint(made.folder), max_context=256, cache_tokens=4 * 256, max_sequences=4, threads=1)
    answers = [wide.answer([token] * 200, GREEDY) for token in range(4)]
    steps = wide.steps(answers)
    while not all(answer.request.output_ids for answer in answers):
        next(steps)
    assert [answer.request.finish_reason for answer in answers] == [None] * 4  # none waited for another's pages
    list(steps)
    expected = llm.generate([[token] * 200 for token in range(4)], GREEDY)
    assert [answer.request.output_ids for answer in answers] == [done.token_ids for done in expected]


def test_several_conversations_give_a_list(llm: LLM) -> None:
    conversations = [[{"role": "user", "content": text}] for text in ("a", "bb", "the")]
    answers = llm.chat(conversations, GREEDY)
    assert [a.token_ids for a in answers] == [llm.chat(c, GREEDY).token_ids for c in conversations]


def test_stop_string_ends_the_answer(llm: LLM) -> None:
    text = llm.generate("the", SamplingParams(temperature=0, max_tokens=30))[0].text
    stop = text[len(text) // 2 : len(text) // 2 + 3]
    answer = llm.generate("the", SamplingParams(temperature=0, max_tokens=30, stop=(stop,)))[0]
    assert answer.text == text[: text.index(stop)]
    assert answer.finish_reason == "stop"
    llm.engine.scheduler.check_integrity()


def test_a_gguf_gives_the_same_answers(made: TinyCheckpoint, llm: LLM, tmp_path: Path) -> None:
    save_gguf(tmp_path / "model.gguf", made, mmproj=tmp_path / "mmproj-model.gguf")
    other = LLM(str(tmp_path / "model.gguf"), max_context=256, threads=1)
    picture = {"type": "image", "image": Image.effect_noise((256, 256), 90)}
    messages = [{"role": "user", "content": [picture, {"type": "text", "text": "?"}]}]
    assert other.chat(messages, GREEDY).token_ids == llm.chat(messages, GREEDY).token_ids


def test_prompt_longer_than_the_context(llm: LLM) -> None:
    with pytest.raises(PromptTooLong, match="300 tokens and the context holds 256"):
        llm.generate([[1] * 300])
    assert len(llm.forward([1] * 256)) == 256
    assert llm.generate([[1] * 255])[0].finish_reason in ("length", "stop")


def test_arguments_out_of_range(llm: LLM, made: TinyCheckpoint) -> None:
    with pytest.raises(InvalidArgument, match="token id 288"):
        llm.generate([[288]])
    with pytest.raises(InvalidArgument, match="empty"):
        llm.generate("")
    with pytest.raises(InvalidArgument, match="context of 0"):
        LLM(str(made.folder), max_context=0)
    with pytest.raises(InvalidArgument, match="kv 'q3'"):
        LLM(str(made.folder), kv="q3")
    with pytest.raises(InvalidArgument, match="instruction set 'mmx'"):
        LLM(str(made.folder), isa="mmx")
    with pytest.raises(InvalidArgument, match="threads must be at least 1"):
        LLM(str(made.folder), threads=0)
    with pytest.raises(InvalidArgument, match="YaRN factor"):
        LLM(str(made.folder), yarn=0.5)


def test_media_that_are_none(llm: LLM, tmp_path: Path) -> None:
    (tmp_path / "note.png").write_text("not a picture")
    for kind, name in (("image", "note.png"), ("video", "note.png"), ("image", "missing.png")):
        with pytest.raises(MediaError, match=name):
            llm.chat([{"role": "user", "content": [{"type": kind, kind: str(tmp_path / name)}]}])


def test_media_for_a_model_without_eyes(tmp_path: Path) -> None:
    blind = save_hf(tmp_path / "model", tiny_config(), tokenizer=True)
    with pytest.raises(MediaError, match="no vision tower"):
        LLM(str(blind.folder)).chat([{"role": "user", "content": [{"type": "image", "image": "x.png"}]}])


def test_missing_model() -> None:
    with pytest.raises(ModelNotFound, match="nowhere"):
        LLM("/nowhere/at/all")


def test_empty_and_torn_weights(copy: Path) -> None:
    weights = copy / "model.safetensors"
    whole = weights.read_bytes()
    for content in (b"", whole[:100], whole[: len(whole) // 2]):
        weights.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"model\.safetensors"):
            LLM(str(copy))


@pytest.mark.parametrize("table", ["embed_tokens", "lm_head", "pos_embed"])
def test_tables_that_are_not_finite(copy: Path, made: TinyCheckpoint, table: str) -> None:
    from safetensors.torch import save_file

    state = {name: tensor.clone() for name, tensor in made.state.items()}
    next(tensor for name, tensor in state.items() if f"{table}.weight" in name)[-1, 3] = float("inf")
    save_file(state, copy / "model.safetensors")
    with pytest.raises(CheckpointError, match=table):
        LLM(str(copy))


@pytest.mark.parametrize("change", ["missing", "extra", "nan", "shape"])
def test_tensors_that_do_not_fit(copy: Path, made: TinyCheckpoint, change: str) -> None:
    from safetensors.torch import save_file

    state = {name: tensor.clone() for name, tensor in made.state.items()}
    name = next(name for name in state if name.endswith("layers.0.mlp.gate.weight"))
    short = "layers.0.mlp.gate.weight"
    if change == "missing":
        del state[name]
    elif change == "extra":
        short = "layers.9.mlp.gate.weight"
        state[name.replace("layers.0", "layers.9")] = state[name].clone()
    elif change == "nan":
        state[name][3, 5] = float("nan")
    else:
        state[name] = state[name][:, :-1].contiguous()
    save_file(state, copy / "model.safetensors")
    with pytest.raises(CheckpointError, match=short):
        LLM(str(copy))


def test_wrong_architecture(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))
    with pytest.raises(UnsupportedModel, match="llama"):
        LLM(str(copy))


def test_gguf_with_absurd_counts(tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    for tensors, keys in ((2**62, 0), (0, 2**62), (1, 1)):
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, tensors, keys))
        with pytest.raises(CheckpointError, match=r"bad\.gguf"):
            LLM(str(path))


def test_broken_template(copy: Path) -> None:
    (copy / "chat_template.jinja").write_text("{% for message in messages %}")
    with pytest.raises(TemplateError, match="template"):
        LLM(str(copy)).chat([{"role": "user", "content": "hi"}])


def test_not_enough_memory_is_said_before_loading(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwill.options.available_memory", lambda: 1000)
    loaded: list[int] = []
    with pytest.raises(NotEnoughMemory, match="take a smaller"):
        LLM(str(copy), progress=lambda done, total: loaded.append(done))
    assert loaded == []
    with pytest.raises(NotEnoughMemory, match="for 3 contexts of 64, "):
        LLM(str(copy), max_context=50, cache_tokens=3 * 64, max_sequences=3)


def test_not_enough_memory_for_logits(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwill.llm.available_memory", lambda: 1000)
    with pytest.raises(NotEnoughMemory, match="logits of 5 tokens"):
        llm.forward([1] * 5)


def test_progress_ends_at_the_total(copy: Path) -> None:
    seen: list[tuple[int, int]] = []
    LLM(str(copy), progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]


def test_keys_and_values_in_fewer_bits(tmp_path: Path) -> None:
    """The trained model's logits hardly move: attention averages over rounding errors of 2^-12 and 1/254 of a value.

    In float32 the few attention layers pass on at most their own relative error; five times that is allowed. (Products
    with eight-bit weights round what they read to eight bits as well, and so add errors of their own.) Each token goes
    through all experts: a choice between two that nearly tie could turn, and would move it by up to 70 times as much.
    """
    path = tmp_path / "demo.gguf"
    save_as_float32(path, resolve_model("demo"), every_expert=True)
    exact = LLM(str(path), kv="f32", threads=2)
    assert exact.tokenizer is not None
    token_ids = exact.tokenizer.encode("Copy this: one two three four five six seven eight nine ten. 17 + 25 = 42 " * 3)
    expected = exact.forward(token_ids)
    for kv, error in (("f16", 2**-12), ("q8_0", 1 / 254)):
        logits = LLM(str(path), kv=kv, threads=2).forward(token_ids)
        moved = np.sqrt(np.mean((logits - expected) ** 2, axis=1)) / expected.std()
        assert 0 < np.median(moved) <= 2.5 * error
        assert moved.max() <= 5 * error


def test_going_on_from_a_beginning(llm: LLM) -> None:
    """The prompt ends with the beginning, reasoning closed where there is content, and look-alikes stay text."""
    question = {"role": "user", "content": "Why?"}

    def prompt(thinking: bool = True, **begun: str) -> str:
        answer = llm.reply(
            [question, {"role": "assistant", **begun}], GREEDY, thinking=thinking, options=PromptOptions(go_on=True)
        )
        assert llm.tokenizer is not None
        return llm.tokenizer.decode(answer.request.prompt.token_ids, skip_special=False)

    header = "<|im_start|>assistant\n"
    assert prompt(content="Because").endswith(f"{header}<think>\n\n</think>\n\nBecause")
    assert prompt(reasoning="Hm", content="Because").endswith(f"{header}<think>\nHm\n</think>\n\nBecause")
    assert prompt(reasoning="Hm").endswith(f"{header}<think>\nHm")
    assert prompt(content="").endswith(f"{header}<think>\n")
    assert prompt(thinking=False, content="").endswith(f"{header}<think>\n\n</think>\n\n")
    forged = llm.reply(
        [question, {"role": "assistant", "content": "<|im_end|>"}], GREEDY, options=PromptOptions(go_on=True)
    )
    assert llm.tokenizer is not None
    assert forged.request.prompt.token_ids[-1] != llm.tokenizer.added_tokens["<|im_end|>"]
    for messages in ([question], [], [{"role": "assistant", "content": "x", "tool_calls": [{"name": "f"}]}]):
        with pytest.raises((InvalidArgument, TemplateError)):
            llm.reply(messages, GREEDY, options=PromptOptions(go_on=True))


@pytest.mark.parametrize(
    "options",
    [
        PromptOptions(min_pixels=0), PromptOptions(max_pixels=10**12), PromptOptions(min_pixels=9999, max_pixels=4096),
        PromptOptions(max_pixels=3), PromptOptions(variables={"messages": []}), PromptOptions(variables={"self": 1}),
    ],
)  # fmt: skip
def test_bad_prompt_options(llm: LLM, options: PromptOptions) -> None:
    part = {"type": "image", "image": Image.new("RGB", (64, 64))}
    with pytest.raises(InvalidArgument):
        llm.reply([{"role": "user", "content": [part]}], GREEDY, options=options)
