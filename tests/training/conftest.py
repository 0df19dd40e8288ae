"""The training code lives beside the package, in the repository's root."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))


@pytest.fixture(scope="session")
def tokenizer():
    from training.data import build_tokenizer

    return build_tokenizer(3, 1024, 1500)
