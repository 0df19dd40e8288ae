"""The training code lives beside the package, in the repository's root."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parents[2]))


@pytest.fixture(autouse=True)
def plainly_computed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread and no compiler of graphs: for a few small steps it takes longer than it saves."""
    from training.layers import Compiled

    monkeypatch.setattr(Compiled, "enabled", False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.fixture
def seed() -> int:
    """A fresh one for every run, printed when the test fails."""
    value = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", value)
    return value


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    from training.data import build_tokenizer

    return build_tokenizer(3, 1280, 600)


@pytest.fixture(scope="session")
def folder(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model, exported."""
    from training.export import export
    from training.train import build_model

    run = tmp_path_factory.mktemp("run")
    tokenizer.save(str(run / "tokenizer.json"))
    torch.manual_seed(5)
    model = build_model(tokenizer, torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.05)
    torch.save({"model": model.state_dict()}, run / "checkpoint.pt")
    export(run, run / "exported")
    return run / "exported"
