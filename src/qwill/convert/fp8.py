"""Makes a folder in the layout of the family's FP8 releases from one in BF16, F16 or F32.

Matrices become E4M3 with one float32 scale (`.weight_scale_inv`) for each 128 x 128 block, experts one by one. As in
the releases, these stay as they are: embeddings, head, convolutions, in_proj_a and in_proj_b, the routers and the
shared expert's gate, the vision tower and the draft head's `mtp.fc`.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from qwill.convert.complete import check_complete
from qwill.convert.quantize import CHUNK_VALUES, Progress, in_order
from qwill.convert.safetensors_writer import FolderWriter, StoredTensor
from qwill.convert.source import SourceTensor, Watch
from qwill.errors import CheckpointError, InvalidArgument, UnsupportedModel
from qwill.quant import codecs
from qwill.quant.types import TYPES
from qwill.weights.assemble import FP8_BLOCK
from qwill.weights.folders.safetensors import read_folder
from qwill.weights.load import open_checkpoint
from qwill.weights.mapped import RawTensor
from qwill.weights.names import released_name
from qwill.weights.packed.mlx import has_mlx_layout
from qwill.weights.shapes import text_shapes, vision_shapes

SHARD_BYTES = 5 * 10**9
KEPT = (
    "embed_tokens.", "lm_head.", ".conv1d.", ".in_proj_a.", ".in_proj_b.", ".mlp.gate.", ".shared_expert_gate.",
    "visual.", "mtp.fc.",
)  # fmt: skip
FLOATS = ("F32", "F16", "BF16")
COPIED = ("*.json", "*.jinja", "*.txt", "LICENSE*")
NOT_COPIED = ("config.json", "*.safetensors.index.json", "adapter_config.json")
QUANTIZATION = {
    "quant_method": "fp8",
    "activation_scheme": "dynamic",
    "fmt": "e4m3",
    "weight_block_size": [FP8_BLOCK, FP8_BLOCK],
}


@dataclass(frozen=True)
class Fp8Folder:
    """A folder that can be made: its tensors in order, and the contents of its small files.

    Of `tensors` those that are `quantized` become two in the folder, the codes and their scales.
    """

    tensors: Sequence[tuple[SourceTensor, bool]]
    files: dict[str, bytes]
    watch: Watch

    @property
    def stored(self) -> list[StoredTensor]:
        return [stored for tensor, quantized in self.tensors for stored in _stored(tensor, quantized)]


def plan_fp8(folder: Path) -> Fp8Folder:
    """What becomes of a folder; only headers and small files are read.

    Raises InvalidArgument when it is no folder, UnsupportedModel when its weights are quantized already, and errors of
    `open_checkpoint`.
    """
    if not folder.is_dir():
        raise InvalidArgument(f"{folder}: FP8 is made of a model's folder; that is a file, quantize it to Q8_0 instead")
    checkpoint = open_checkpoint(folder)
    config = checkpoint.config
    if "quantization_config" in config:
        raise UnsupportedModel(f"{folder}: is quantized already; FP8 is made of a folder in BF16, F16 or F32")
    raw_tensors = list(read_folder(folder, quiet=True))
    if has_mlx_layout(raw_tensors):
        raise UnsupportedModel(f"{folder}: is in MLX's layout; FP8 is made of a folder as transformers writes it")
    check_complete(checkpoint, "mtp.fc.weight" in checkpoint.tensors)
    nested = "text_config" in config
    raws = (raw._replace(name=released_name(raw.name, nested)) for raw in raw_tensors)
    tensors = [converted for raw in raws for converted in _convert(raw)]
    kept = [t.name.removesuffix(".weight") for t, quantized in tensors if not quantized and len(t.shape) > 1]
    config["quantization_config"] = QUANTIZATION | {"modules_to_not_convert": sorted(kept)}
    watch = Watch([*sorted(folder.glob("*.safetensors"))])
    return Fp8Folder(tensors, _small_files(folder, config), watch)


def planned_bytes(config: dict[str, Any]) -> int:
    """About the bytes of the tensors of a folder, all that stays as it is in BF16, from a config.json alone."""
    text = config.get("text_config", config)
    shapes = text_shapes(text) + (vision_shapes(config["vision_config"]) if config.get("vision_config") else [])
    return sum(_bytes(shape.name, shape.shape) for shape in shapes)


def _bytes(name: str, shape: tuple[int, ...]) -> int:
    if len(shape) == 1 or any(part in name for part in KEPT):
        return 2 * prod(shape)
    blocks = prod(-(-size // FP8_BLOCK) for size in shape[-2:]) * prod(shape[:-2])
    return prod(shape) + 4 * blocks


def write_fp8(
    plan: Fp8Folder, destination: Path, shard_bytes: int, threads: int = 1, progress: Progress | None = None
) -> None:
    """Makes the folder, which must not be there yet. Errors as for `quantize.write_gguf`."""
    if destination.exists():
        raise InvalidArgument(f"{destination}: exists; give the name of a new folder")
    with FolderWriter(destination, plan.stored, plan.files, shard_bytes) as writer:
        scales: list[np.ndarray] = []
        for data, its_scales, last in in_order(_pieces(plan), threads):
            writer.write(data)
            if its_scales is not None:
                scales.append(its_scales)
            if scales and last:
                writer.write(np.concatenate(scales))
                scales = []
            if progress is not None:
                progress(data.nbytes)
        plan.watch.check()


_Result = tuple[np.ndarray, np.ndarray | None, bool]


def _pieces(plan: Fp8Folder) -> Iterator[Callable[[], _Result]]:
    for tensor, quantized in plan.tensors:
        step = max(CHUNK_VALUES // tensor.columns // FP8_BLOCK, 1) * FP8_BLOCK  # whole blocks
        for begin in range(0, tensor.rows, step):
            yield _Piece(plan.watch, tensor, quantized, begin, min(begin + step, tensor.rows))


@dataclass(frozen=True)
class _Piece:
    """Rows of a tensor; called, it gives their bytes, the scales if there are any, and whether they are the last."""

    watch: Watch
    tensor: SourceTensor
    quantized: bool
    begin: int
    end: int

    def __call__(self) -> _Result:
        self.watch.check()
        rows = (0, self.begin, self.end)
        scales = None
        if self.quantized:
            data, scales = codecs.encode_fp8(self.tensor.values(*rows))
        else:
            data = self.tensor.stored(*rows)
        self.tensor.give_back(*rows)
        return data, scales, self.end == self.tensor.rows


def _convert(raw: RawTensor) -> Iterator[tuple[SourceTensor, bool]]:
    """A tensor of the folder, or those of all its experts, and whether it is quantized."""
    if raw.dtype not in FLOATS:
        raise UnsupportedModel(f"{raw.source}: is stored as {raw.dtype}; FP8 is made of BF16, F16 or F32")
    stem, found, kind = raw.name.removesuffix(".weight").rpartition(".mlp.experts.")
    if found and kind in ("gate_up_proj", "down_proj"):
        yield from _experts(raw, f"{stem}.mlp.experts", kind)
        return
    quantized = raw.name.endswith(".weight") and len(raw.shape) == 2 and not any(part in raw.name for part in KEPT)
    yield _source(raw, raw.name, raw.shape, raw.data), quantized


def _experts(raw: RawTensor, stem: str, kind: str) -> Iterator[tuple[SourceTensor, bool]]:
    """Packed experts one by one; gate rows stand before up rows."""
    projections = ("gate_proj", "up_proj") if kind == "gate_up_proj" else (kind,)
    if len(raw.shape) != 3 or raw.shape[1] % len(projections):
        raise CheckpointError(f"{raw.source}: has shape {list(raw.shape)}, which does not fit its place")
    experts, rows, columns = raw.shape
    data = raw.data.reshape(experts, len(projections), -1)
    for expert in range(experts):
        for number, projection in enumerate(projections):
            shape = (rows // len(projections), columns)
            yield _source(raw, f"{stem}.{expert}.{projection}.weight", shape, data[expert, number]), True


def _source(raw: RawTensor, name: str, shape: tuple[int, ...], data: np.ndarray) -> SourceTensor:
    width = shape[-1] if shape else 1
    return SourceTensor(name, name, shape, TYPES[raw.dtype], (data,), raw.source, width)


def _stored(tensor: SourceTensor, quantized: bool) -> list[StoredTensor]:
    if not quantized:
        return [StoredTensor(tensor.name, tensor.type.name, tensor.shape)]
    blocks = tuple(-(-size // FP8_BLOCK) for size in tensor.shape)
    return [
        StoredTensor(tensor.name, "F8_E4M3", tensor.shape),
        StoredTensor(f"{tensor.name}_scale_inv", "F32", blocks),
    ]


def _small_files(folder: Path, config: dict[str, Any]) -> dict[str, bytes]:
    """Configuration, tokenizer and settings. The configuration comes last: with it the folder is a model."""
    files = {
        file.name: file
        for pattern in COPIED
        for file in sorted(folder.glob(pattern))
        if not any(file.match(name) for name in NOT_COPIED)
    }
    contents = {name: file.read_bytes() for name, file in files.items()}
    return contents | {"config.json": (json.dumps(config, indent=2) + "\n").encode()}
