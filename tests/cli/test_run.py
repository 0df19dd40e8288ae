"""One-shot answers on a tiny random checkpoint: the same as the API's, and what goes wrong."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from checkpoints import save_hf, tiny_config
from conftest import Run, run_process
from fake_model import FakeLLM
from PIL import Image

from qwill import LLM, SamplingParams

GREEDY = ("--temp", "0", "-n", "12", "--no-think")


@pytest.fixture(scope="module")
def llm(tiny: Path) -> LLM:
    return LLM(str(tiny))


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "a picture.png"
    Image.effect_noise((70, 50), 60).convert("RGB").save(path)
    return path


def answer(llm: LLM, content: Any, system: str = "", **params: Any) -> Any:
    messages = [{"role": "system", "content": system}] if system else []
    params = {"temperature": 0, "max_tokens": 12} | params
    return llm.chat([*messages, {"role": "user", "content": content}], SamplingParams(**params), thinking=False)


def test_the_answer_is_the_apis(run: Run, tiny: Path, llm: LLM) -> None:
    result = run("run", tiny, "-p", "the end", *GREEDY)
    assert (result.code, result.err) == (0, "")
    assert result.out.rstrip("\n") == answer(llm, "the end").text.rstrip("\n")


def test_options_reach_the_model(run: Run, tiny: Path, llm: LLM) -> None:
    shown = json.loads(
        run(
            *("run", tiny, "-p", "and", "--system", "be", "--no-think", "--json", "--temp", "0.8", "--top-k", "7"),
            *("--top-p", "0.9", "--min-p", "0.01", "--presence-penalty", "0.5", "--frequency-penalty", "0.25"),
            *("--repetition-penalty", "1.1", "--seed", "5", "-n", "9", "--stop", "zzz", "--logprobs", "2"),
        ).out
    )
    expected = answer(
        llm, "and", "be", temperature=0.8, top_k=7, top_p=0.9, min_p=0.01, presence_penalty=0.5,
        frequency_penalty=0.25, repetition_penalty=1.1, seed=5, max_tokens=9, stop=("zzz",), logprobs=2,
    )  # fmt: skip
    assert shown["token_ids"] == expected.token_ids
    assert [entry["logprob"] for entry in shown["logprobs"]] == [entry.logprob for entry in expected.logprobs]
    assert [len(entry["top"]) for entry in shown["logprobs"]] == [2] * 9


def test_the_shape_of_an_answer(run: Run, tiny: Path, llm: LLM, tmp_path: Path) -> None:
    schema, grammar = tmp_path / "schema.json", tmp_path / "two.lark"
    schema.write_text('{"enum": ["yes", "né"]}', "utf-8")
    grammar.write_text('start: "a" | "é"', "utf-8")
    question = ("run", tiny, "-p", "and", *GREEDY)
    for options, params in (
        (("--json-schema", schema), {"json_schema": {"enum": ["yes", "né"]}}),
        (("--grammar", grammar), {"grammar": 'start: "a" | "é"'}),
        (("--regex", "[0-9]{3}"), {"regex": "[0-9]{3}"}),
    ):
        result = run(*question, *options)
        assert result.out == answer(llm, "and", **params).text + "\n"
    think = run("run", tiny, "-p", "and", "--temp", "0", "-n", "12", "--max-thinking", "3", "--json")
    params = SamplingParams(temperature=0, max_tokens=12, max_thinking_tokens=3)
    bound = llm.chat([{"role": "user", "content": "and"}], params)
    assert json.loads(think.out)["token_ids"] == bound.token_ids
    assert "</think>" in llm.tokenizer.decode(bound.token_ids[3:])
    assert "</think>" not in llm.tokenizer.decode(bound.token_ids[:4])


def test_an_effort(run: Run, tiny: Path) -> None:
    asked = ("run", tiny, "-p", "and", "--temp", "0", "-n", "12", "--json")
    without, none, low = (
        json.loads(run(*asked, *more).out) for more in (["--no-think"], ["--effort", "none"], ["--effort", "low"])
    )
    assert none["token_ids"] == without["token_ids"]
    assert low["token_ids"] == json.loads(run(*asked).out)["token_ids"]  # whose bound is beyond 12 tokens
    assert run(*asked, "--effort", "much").code == 2


def test_what_a_schema_cannot_be_held_to_is_told(tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text(
        '{"type": "integer", "minimum": 9007199254740993, "maximum": 9007199254740993, "not": {}}', "utf-8"
    )
    result = run_process("run", "-p", "a", "--no-think", "--json-schema", schema, "--json")
    assert result.err == "answers cannot be held to response_format.not; it is left out\n"
    shown = json.loads(result.out)
    assert (shown["text"], shown["left_out"]) == ("9007199254740993", ["response_format.not"])
    schema.write_text('{"const": -12345678901234567890}', "utf-8")
    result = run_process("run", "-p", "a", "--no-think", "--json-schema", schema)
    assert (result.out, result.err) == ("-12345678901234567890\n", "")


def test_loops_are_stopped_when_asked(run: Run) -> None:
    """The demonstration model, which an expression keeps from saying anything else."""
    options = ("-p", "Repeat: 0 0 0", "--no-think", "--regex", "(0 ){900}", "--temp", "0", "-n", "700", "--json")
    free, stopped = (json.loads(run("run", *options, *more).out) for more in ((), ("--stop-loops",)))
    assert (free["finish_reason"], stopped["finish_reason"]) == ("length", "loop")
    assert stopped["token_ids"] == free["token_ids"][: len(stopped["token_ids"])]


def test_options_reach_the_loader(run: Run, model: list[FakeLLM]) -> None:
    options = ("--ctx", "77", "--threads", "3", "--kv", "f16", "--yarn", "2", "--mmproj", "eyes.gguf",
               "--drafts", "3", "--cache", "here", "--lora", "a=0.5", "--lora", "b")  # fmt: skip
    assert run("run", "some-model", "-p", "hi", *options).code == 0
    assert run("run", "-p", "hi").code == 0
    assert (model[0].model, model[1].model) == ("some-model", "demo")
    assert (model[1].options["speculative"], model[1].options["disk_cache"]) == (True, None)
    assert model[0].options == {
        "max_context": 77, "threads": 3, "kv": "f16", "yarn": 2.0, "mmproj": "eyes.gguf", "max_sequences": 1,
        "speculative": 3, "disk_cache": "here", "lora": ["a=0.5", "b"],
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["image", "video"])
def test_missing_files_are_noticed_before_the_model_is_loaded(run: Run, model: list[FakeLLM], kind: str) -> None:
    assert f"no such {kind}" in run("run", "-p", "a", f"--{kind}", "nowhere").mistake()
    assert model == []


def test_json_has_the_promised_keys(run: Run, tiny: Path, llm: LLM) -> None:
    result = run("run", tiny, "-p", "the end", "--json", *GREEDY)
    shown = json.loads(result.out)
    assert list(shown) == ["text", "reasoning", "tool_calls", "token_ids", "finish_reason", "usage", "timings"]
    expected = answer(llm, "the end")
    assert (shown["text"], shown["token_ids"]) == (expected.text, expected.token_ids)
    assert shown["usage"] == expected.usage
    assert set(shown["timings"]) == {
        "first_token_seconds", "prefill_tokens_per_second", "decode_tokens_per_second"
    }  # fmt: skip
    assert result.out.count("\n") == 1


def test_reasoning_is_told_apart(run: Run, tiny: Path) -> None:
    arguments = ("run", tiny, "-p", "in", "--temp", "0", "-n", "6")
    thought = json.loads(run(*arguments, "--json").out)["reasoning"]
    assert thought  # the template opens <think>, and this model never closes it
    assert run(*arguments).out == ""
    assert run(*arguments, "--show-reasoning").out == thought + "\n"


def test_the_prompt_may_come_from_stdin(run: Run, tiny: Path, llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("the größte end".encode())))
    shown = json.loads(run("run", tiny, "-p", "-", "--json", *GREEDY).out)
    assert shown["usage"] == answer(llm, "the größte end").usage


def test_images_come_before_the_text(run: Run, tiny: Path, llm: LLM, picture: Path) -> None:
    shown = json.loads(run("run", tiny, "-p", "in", "--image", picture, "--image", picture, "--json", *GREEDY).out)
    image = {"type": "image", "image": str(picture)}
    expected = answer(llm, [image, image, {"type": "text", "text": "in"}])
    assert (shown["token_ids"], shown["usage"]) == (expected.token_ids, expected.usage)


def test_frames_of_a_video(run: Run, tiny: Path, llm: LLM, tmp_path: Path) -> None:
    with av.open(tmp_path / "film.mp4", "w") as film:
        track = film.add_stream("mpeg4", rate=4, width=64, height=64, pix_fmt="yuv420p")
        for shade in range(0, 240, 10):
            film.mux(track.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), shade, np.uint8))))
        film.mux(track.encode())
    shown = json.loads(
        run("run", tiny, "-p", "in", "--video", tmp_path / "film.mp4", "--fps", "1", "--json", *GREEDY).out
    )
    video = {"type": "video", "video": str(tmp_path / "film.mp4")}
    messages = [{"role": "user", "content": [video, {"type": "text", "text": "in"}]}]
    by_rate = {
        fps: llm.chat(messages, SamplingParams(temperature=0, max_tokens=12), thinking=False, fps=fps) for fps in (1, 2)
    }
    assert (shown["token_ids"], shown["usage"]) == (by_rate[1].token_ids, by_rate[1].usage)
    assert by_rate[1].usage["prompt_tokens"] < by_rate[2].usage["prompt_tokens"]


def test_an_image_needs_no_text(run: Run, tiny: Path, picture: Path) -> None:
    assert run("run", tiny, "-p", "", "--image", picture, *GREEDY).code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-p", ""], "the prompt is empty"),
        (["-p", " \n"], "the prompt is empty"),
        (["-p", "a\udcff"], "not valid UTF-8"),
        (["-p", "a", "--system", "\udc80"], "not valid UTF-8"),
        (["-p", "the " * 6000], "the context holds 4096"),
        (["-p", "a", "--ctx", "3"], "the context holds 3"),
        (["-p", "a", "--ctx", "5000"], "5000"),
        (["-p", "a", "--yarn", "0.5"], "YaRN"),
        (["-p", "a", "--kv", "q9"], "q9"),
        (["-p", "a", "--temp", "-1"], "temperature"),
        (["-p", "a", "--temp", "nan"], "temperature"),
        (["-p", "a", "--top-p", "1.5"], "top_p"),
        (["-p", "a", "--stop", ""], "stop"),
        (["-p", "a", "--logprobs", "500", "--json"], "logprobs"),
        (["-p", "a", "--logprobs", "1"], "--json"),
        (["--json"], "-p TEXT"),
        (["-p", "a", "--image", "nowhere.png"], "nowhere.png"),
        (["-p", "a", "--image", __file__], "is not an image"),
        (["-p", "a", "--image", "https://example.com/a.png"], "download it first"),
        (["-p", "a", "--video", "nowhere.mp4"], "nowhere.mp4"),
        (["-p", "a", "--video", __file__], "test_run.py"),
        (["-p", "a", "--mmproj", "nowhere.gguf"], "nowhere.gguf"),
        (["-p", "a", "--max-thinking", "-1"], "-1 is not at least 0"),
        (["-p", "a", "--json-schema", "nowhere.json"], "the schema cannot be read from nowhere.json"),
        (["-p", "a", "--json-schema", __file__], "json_schema must be a JSON object"),
        (["-p", "a", "--grammar", __file__], "grammar cannot be used"),
        (["-p", "a", "--regex", "("], "regex cannot be used"),
        (["-p", "a", "--regex", "a", "--grammar", __file__], "either regex or grammar"),
    ],
)
def test_mistakes(run: Run, tiny: Path, arguments: list[str], says: str) -> None:
    assert says in run("run", tiny, *arguments).mistake()


def test_models_that_are_none(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").touch()
    (tmp_path / "text.gguf").write_text("I am a text")
    (tmp_path / "folder").mkdir()
    for name in ("empty.gguf", "text.gguf", "folder", "missing.gguf"):
        assert name in run("run", tmp_path / name, "-p", "hi").mistake()
    assert "qwill pull qwen3.5:397b-q8_0" in run("run", "qwen3.5:397b-q8_0", "-p", "hi").mistake()


def test_a_model_without_eyes_refuses_images(run: Run, tmp_path: Path, picture: Path) -> None:
    save_hf(tmp_path, tiny_config(), tokenizer=True)
    assert "no vision tower" in run("run", tmp_path, "-p", "a", "--image", picture).mistake()


def test_in_a_process_of_its_own(tiny: Path, llm: LLM) -> None:
    result = run_process("run", tiny, "-p", "-", *GREEDY, stdin=b"the end")
    assert (result.code, result.err) == (0, "")
    assert result.out.rstrip("\n") == answer(llm, "the end").text.rstrip("\n")
    run_process("run", tiny, "-p", "-", stdin=b"\xff").mistake()
