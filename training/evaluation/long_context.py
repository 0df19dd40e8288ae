"""Needles in texts of the trained length and of four times that, with YaRN and without."""

import json
import random
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import gguf
from rich.progress import track

from qwill import LLM
from training.evaluation.tasks import Score, score
from training.tasks.needle import LONGEST, needle_of_length

FACTOR = 4


class Case(NamedTuple):
    """A length of the text in characters, how the model is made to take it, and the share aimed at."""

    name: str
    characters: int
    yarn: bool
    target: float | None


CASES = (
    Case("the trained length", LONGEST, False, 0.98),
    Case("4 times the trained length, YaRN 4", FACTOR * LONGEST, True, 0.9),
    Case("4 times the trained length, without YaRN", FACTOR * LONGEST, False, None),
)


def claim_context(model: Path, folder: Path, tokens: int) -> Path:
    """A copy of the text model in `folder` that says it can hold so many tokens, nothing else changed."""
    copy = folder / model.name
    if model.is_dir():
        shutil.copytree(model, copy)
        config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
        config["text_config"]["max_position_embeddings"] = tokens
        (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return copy
    shutil.copyfile(model, copy)
    reader = gguf.GGUFReader(copy, "r+")
    architecture = reader.fields["general.architecture"].contents()
    field = reader.fields[f"{architecture}.context_length"]
    field.parts[field.data[0]][0] = tokens
    reader.data.flush()
    return copy


def load(case: Case, model: str, folder: Path, threads: int | None) -> LLM:
    """The model, ready for the lengths of the case."""
    if case.yarn:
        return LLM(model, yarn=FACTOR, threads=threads)
    llm = LLM(model, threads=threads)
    if case.characters <= LONGEST:
        return llm
    claimed = claim_context(llm.checkpoint.path, folder, FACTOR * llm.max_context)
    return LLM(str(claimed), threads=threads)


def measure(model: str, seed: int, count: int, threads: int | None) -> dict[str, Score]:
    """The score of each case."""
    result = {}
    for case in track(CASES, "long texts"):
        rng = random.Random(f"evaluate {seed} needle {case.characters}")
        examples = [needle_of_length(rng, True, case.characters) for _ in range(count)]
        with tempfile.TemporaryDirectory() as folder:
            result[case.name] = score(load(case, model, Path(folder), threads), examples)
    return result
