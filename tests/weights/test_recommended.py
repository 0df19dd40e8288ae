"""What is recommended for sampling where a checkpoint does not say."""

from pathlib import Path
from typing import Any

import pytest

from qwill.engine.sampling_params import DEFAULTS, SamplingParams
from qwill.weights.hub.cache import resolve_model
from qwill.weights.load import open_checkpoint
from qwill.weights.recommended import with_recommended

OF_3_8 = {"temperature": 1.0, "top_p": 0.95, "top_k": 20}


@pytest.mark.parametrize(
    ("path", "names", "recommended"),
    [
        ("Qwen3.8-27B-Q4_K_M.gguf", (), OF_3_8),
        ("Qwen3.8-2.4T-A95B", (), OF_3_8),
        ("models--unsloth--Qwen3.8-27B-GGUF/snapshots/0/x.gguf", (), OF_3_8),
        ("x.gguf", (None, "Qwen3.8 27B"), OF_3_8),
        ("Qwen3.6-27B-Q4_K_M.gguf", (), {}),
        ("Qwen3.8-27B/Qwen3.5-4B.gguf", (), {}),
        ("Qwen3.8-27B.gguf", ("Qwen3.5 4B",), {}),
        ("x.gguf", (7, ["Qwen3.8-27B"]), {}),
    ],
)
def test_a_release_is_known_by_its_names(path: str, names: tuple[Any, ...], recommended: dict[str, Any]) -> None:
    assert with_recommended({}, Path(path), names) == recommended


def test_what_the_checkpoint_says_stays() -> None:
    path = Path("Qwen3.8-27B")
    assert with_recommended({"temperature": 0.3, "eos_token_id": 7}, path) == OF_3_8 | {
        "temperature": 0.3,
        "eos_token_id": 7,
    }
    greedy = {"do_sample": False}
    assert with_recommended(greedy, path) == greedy


def test_answers_are_drawn_so(tmp_path: Path) -> None:
    demo = resolve_model("demo")
    for name, wanted in (("Qwen3.8-27B.gguf", OF_3_8), ("Qwen3.6-27B.gguf", {})):
        (tmp_path / name).write_bytes(demo.read_bytes().replace(b"general.sampling.temp", b"general.samplinG.temp"))
        resolved = SamplingParams().resolve(open_checkpoint(tmp_path / name).generation_config)
        expected = DEFAULTS | wanted
        assert {key: getattr(resolved, key) for key in expected} == expected
