"""lm-eval against the server: what it adds up of a task that is made here is what the model's logits say."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from server.running import OPTIONS, Running, running

from clients.programs import Place, python
from qwill import LLM, SamplingParams

QUESTIONS = 24
TOLERANCE = 1e-6  # of a token, see tests/engine/test_readers.py
BEGINNING = "<|im_end|>"  # what lm-eval reads first where a text has nothing before it
TASKS: dict[str, dict[str, Any]] = {
    "sums": {
        "output_type": "multiple_choice", "doc_to_text": "{{question}}", "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}", "metric_list": [{"metric": "acc"}],
    },
    "texts": {
        "output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}",
        "metric_list": [{"metric": "word_perplexity"}],
    },
    "answers": {
        "output_type": "generate_until", "doc_to_text": "{{question}}", "doc_to_target": "{{choices[answer]}}",
        "generation_kwargs": {"until": ["\n", "."], "max_gen_toks": 6}, "metric_list": [{"metric": "exact_match"}],
    },
}  # fmt: skip
# One after the other, many at a time, and texts in place of token ids.
WAYS = {"one": (1, {}), "many": (16, {"num_concurrent": 3}), "texts": (1, {"tokenized_requests": False})}


@pytest.fixture(scope="module")
def alone() -> LLM:
    return LLM("demo", max_context=OPTIONS["max_context"], max_sequences=1, prefix_cache=False, threads=2)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as started:
        yield started


def write_tasks(folder: Path) -> None:
    """Sums with one right and three wrong results, and a text for each."""
    documents = []
    for _ in range(QUESTIONS):
        first, second = random.randint(1, 99), random.randint(1, 99)
        results = [first + second + more for more in (0, 1, -1, 10)]
        random.shuffle(results)
        text = " ".join(
            random.choices(["naïve", "17", "+", "日本語", "🙂", "the", "cat", "\n"], k=random.randint(1, 60))
        )
        documents.append({
            "question": f"{first} + {second} =", "choices": [str(result) for result in results],
            "answer": results.index(first + second), "text": text.strip() or "x",
        })  # fmt: skip
    data = folder / "documents.jsonl"
    data.write_text("\n".join(json.dumps(document) for document in documents))
    for name, task in TASKS.items():
        source = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}}, "test_split": "test"}
        (folder / f"{name}.yaml").write_text(json.dumps({"task": name, **source, **task}))  # JSON is YAML, too


def evaluated(place: Place, url: str, way: str) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """The results of all tasks, and what was asked and answered of each document."""
    write_tasks(place.work)
    batch, more = WAYS[way]
    options = {"model": "demo", "base_url": f"{url}/v1/completions", "tokenizer_backend": "remote", "max_length": 1024}
    place.run(
        python("lm_eval"), "-m", "lm_eval", "run", "--model", "local-completions", "--batch_size", str(batch),
        "--model_args", ",".join(f"{name}={value}" for name, value in {**options, **more}.items()),
        "--tasks", ",".join(TASKS), "--include_path", ".", "--output_path", "out", "--log_samples",
        environment={"HF_DATASETS_OFFLINE": "1"},
    )  # fmt: skip
    (results,) = place.work.glob("out/*/results_*.json")
    samples = {}
    for name in TASKS:
        (found,) = place.work.glob(f"out/*/samples_{name}_*.jsonl")
        samples[name] = [json.loads(line) for line in found.read_text().splitlines()]
        assert len(samples[name]) == QUESTIONS
    return json.loads(results.read_text())["results"], samples


def told(llm: LLM, before: str, text: str) -> tuple[float, bool, int]:
    """Log-probability of a text after another one, whether the greedy answer begins with it, and its tokens."""
    assert llm.tokenizer is not None
    given = len(llm.tokenizer.encode(before, allow_special=True))
    ids = llm.tokenizer.encode(before + text, allow_special=True)
    logits = llm.forward(ids[:-1])[given - 1 :].astype(np.float64)
    rows = np.arange(len(logits))
    logprobs = logits[rows, ids[given:]] - logits.max(axis=1)
    logprobs -= np.log(np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1))
    return float(logprobs.sum()), bool((logits.max(axis=1) == logits[rows, ids[given:]]).all()), len(rows)


@pytest.mark.parametrize("way", WAYS)
def test_the_same_numbers(place: Place, server: Running, alone: LLM, way: str) -> None:
    results, samples = evaluated(place, server.url, way)
    right, greedily, perplexity, words, exact = 0, 0, 0.0, 0, 0
    for sample in samples["sums"]:
        document, expected = sample["doc"], []
        for number, resp in enumerate(sample["resps"]):
            asked = sample["arguments"][f"gen_args_{number}"]
            assert (asked["arg_0"], asked["arg_1"]) == (document["question"], f" {document['choices'][number]}")
            logprob, greedy, tokens = told(alone, asked["arg_0"], asked["arg_1"])
            ((got, is_greedy),) = resp
            assert abs(float(got) - logprob) <= tokens * TOLERANCE
            assert is_greedy == str(greedy)
            greedily += greedy
            expected.append(logprob)
        right += int(np.argmax(expected)) == document["answer"]
    for sample in samples["texts"]:
        text = sample["doc"]["text"]
        logprob, _, tokens = told(alone, BEGINNING, text)
        ((got,),) = sample["resps"]
        assert abs(float(got) - logprob) <= tokens * TOLERANCE
        perplexity += logprob
        words += len(text.split())
    for sample in samples["answers"]:
        document = sample["doc"]
        params = SamplingParams(temperature=0, max_tokens=6, stop=("\n", ".", BEGINNING))
        (answer,) = alone.generate(document["question"], params)
        ((got,),) = sample["resps"]
        assert got == answer.text
        exact += got == document["choices"][document["answer"]]
    assert results["sums"]["acc,none"] == pytest.approx(right / QUESTIONS)
    assert results["texts"]["word_perplexity,none"] == pytest.approx(np.exp(-perplexity / words), rel=1e-3)
    assert results["answers"]["exact_match,none"] == pytest.approx(exact / QUESTIONS)
    assert right > QUESTIONS / 3  # the model can add, so these are no random numbers
    assert greedily
