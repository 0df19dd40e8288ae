"""Members of the family as random folders, and what llama.cpp's converter makes of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import peer
import pytest
from checkpoints import TinyCheckpoint, edit_json, save_hf, tiny_config

# llama.cpp has one state size for keys and values, and its 256-wide blocks want rows of 256.
WIDE = {
    "hidden_size": 256,
    "intermediate_size": 256,
    "linear_key_head_dim": 64,
    "linear_value_head_dim": 64,
    "head_dim": 64,
    "moe_intermediate_size": 256,
    "shared_expert_intermediate_size": 256,
}
TOWER = {"num_position_embeddings": 256, "hidden_size": 64, "num_heads": 2, "depth": 2}
# Member: (configuration, options of save_hf). Released checkpoints of all sizes have a draft head and a vision tower.
MEMBERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "V = K": ({"linear_num_value_heads": 2}, {}),
    "V = 2 K": ({"linear_num_value_heads": 4, "vision": True, "vision_overrides": TOWER}, {"mtp": True}),
    "V = 4 K, tied": ({"linear_num_value_heads": 8, "tie_word_embeddings": True}, {"mtp": True}),
    "experts, V = 2 K": (
        {"moe": True, "linear_num_value_heads": 4, "vision": True, "vision_overrides": TOWER},
        {"mtp": True},
    ),
    "experts, V = 4 K": ({"moe": True, "linear_num_value_heads": 8}, {"packed": False}),
}
TYPES = ("f32", "f16", "bf16", "q8_0")


@dataclass
class Converted:
    """A folder, and its GGUF files by type, all by llama.cpp's converter; `mmproj` where there is a tower."""

    made: TinyCheckpoint
    files: dict[str, Path]
    mmproj: Path | None


@pytest.fixture
def rng() -> np.random.Generator:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    return np.random.default_rng(seed)


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Converted]:
    """Every member, with weights drawn afresh each time."""
    scratch = tmp_path_factory.mktemp("converted")
    members, jobs = {}, []
    for number, (name, (overrides, options)) in enumerate(MEMBERS.items()):
        folder = scratch / f"member-{number}"
        seed = int(np.random.SeedSequence().generate_state(1)[0]) % 2**31
        print(name, "seed", seed)
        made = save_hf(folder / "hf", tiny_config(**(WIDE | overrides)), seed=seed, tokenizer=True, **options)
        edit_json(folder / "hf" / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
        edit_json(folder / "hf" / "preprocessor_config.json", image_mean=[0.5] * 3, image_std=[0.5] * 3)
        files = {kind: folder / f"{kind}.gguf" for kind in TYPES}
        mtp = [] if options.get("mtp") else ["--no-mtp"]
        for kind, file in files.items():
            jobs.append([str(folder / "hf"), "--outfile", str(file), "--outtype", kind, *mtp])
        mmproj = None
        if overrides.get("vision"):
            mmproj = folder / "mmproj.gguf"
            jobs.append([str(folder / "hf"), "--outfile", str(mmproj), "--outtype", "f32", "--mmproj"])
        members[name] = Converted(made, files, mmproj)
    peer.convert(jobs, scratch)
    return members


@pytest.fixture(params=MEMBERS)
def member(request: pytest.FixtureRequest, converted: dict[str, Converted]) -> Converted:
    return converted[request.param]
