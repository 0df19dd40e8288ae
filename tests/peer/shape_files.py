"""GGUF files of true shapes that take no room, and what llama-quantize would make of them.

The tensors of such a file are a hole: `llama-quantize --dry-run` reads shapes and hyperparameters, no weights. Run as
`python tests/peer/shape_files.py`, it writes tests/quant/stock_types.txt anew.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import peer  # noqa: E402
from quant.stock_types import CASES, FROZEN, Case, render  # noqa: E402

from qwill.convert.gguf_writer import TensorInfo, file_bytes, headers  # noqa: E402
from qwill.convert.metadata import hyperparameters  # noqa: E402
from qwill.fit.family import family_config  # noqa: E402
from qwill.quant.types import TYPES  # noqa: E402
from qwill.weights.shapes import text_shapes  # noqa: E402

ALWAYS_F32 = ("_norm.weight", "ffn_gate_inp.weight", "ssm_conv1d.weight")
LINE = re.compile(r"^\[ *\d+/ *\d+\] (\S+) +- \[.*\], type = +(\w+), size = .*?(?:-> +([\d.]+) MiB \((\w+)\))?$", re.M)


def write_shape_file(path: Path, text: dict[str, Any]) -> None:
    """All tensors of a language model in BF16 and F32, as llama.cpp's converter types them."""
    infos = []
    for tensor in text_shapes(text):
        small = len(tensor.stored) == 1 or tensor.gguf.endswith(ALWAYS_F32)
        infos.append(TensorInfo(tensor.gguf, tensor.stored, TYPES["F32" if small else "BF16"]))
    metadata = hyperparameters(text, text["mtp_num_hidden_layers"])
    path.write_bytes(headers(metadata, [infos])[0])
    with path.open("r+b") as file:
        file.truncate(file_bytes(metadata, infos))


def write_importance(path: Path) -> Path:
    """An importance file of one tensor: its being there is what some mixes depend on."""
    writer = gguf.GGUFWriter(path, "imatrix")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["none"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", 512)
    for ending, size in (("in_sum2", 256), ("counts", 1)):
        writer.add_tensor(f"blk.0.ffn_down.weight.{ending}", np.ones(size, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def planned_types(file: Path, mix: str, importance: Path | None = None) -> dict[str, str]:
    """The type that llama-quantize would give each tensor."""
    options = ["--imatrix", str(importance)] if importance else []
    command = [str(peer.program("llama-quantize")), "--dry-run", *options, str(file), mix]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    found = LINE.findall(done.stdout + done.stderr)
    return {name: (new or old).upper() for name, old, _, new in found}


def types_of(case: Case, scratch: Path) -> dict[str, str]:
    file = scratch / f"{case.member}-{case.draft_head:d}.gguf"
    if not file.exists():
        text = family_config(case.member)["text_config"]
        write_shape_file(file, text | {"mtp_num_hidden_layers": int(case.draft_head)})
    importance = write_importance(scratch / "importance.gguf") if case.importance else None
    return planned_types(file, case.mix, importance)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        FROZEN.write_text(render({case: types_of(case, Path(scratch)) for case in CASES}), "utf-8")


if __name__ == "__main__":
    main()
