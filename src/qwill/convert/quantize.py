"""Makes GGUF files: which type each tensor gets, then reading, encoding and writing, a few rows at a time.

Memory holds a few pieces of CHUNK_VALUES values for each thread, whatever the model. Pieces are encoded by several
threads and written in order, so files do not depend on their number.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from qwill.convert.complete import check_complete, check_tower
from qwill.convert.gguf_writer import GgufWriter, TensorInfo, file_bytes
from qwill.convert.keep import kept_types, with_factors
from qwill.convert.merge import adapter_files, merged, open_adapters, with_own
from qwill.convert.metadata import carried_metadata, importance_metadata, language_metadata, vision_metadata
from qwill.convert.source import (
    SourceTensor,
    Watch,
    gguf_tensors,
    language_tensors,
    vision_tensors,
)
from qwill.errors import CheckpointError, InvalidArgument, UnsupportedModel
from qwill.quant import codecs
from qwill.quant.importance import Importance
from qwill.quant.recipes import Recipe, load_recipe
from qwill.quant.types import TYPES, TensorType
from qwill.weights.adapters.replaced import with_replaced
from qwill.weights.gguf.config import MODEL_TYPES
from qwill.weights.gguf.file import GgufFile, read_gguf
from qwill.weights.gguf.kinds import other_kind
from qwill.weights.gguf.ollama import common_form
from qwill.weights.hub.ollama_store import is_manifest, read_manifest
from qwill.weights.load import open_checkpoint

CHUNK_VALUES = 1 << 21
ROWS_TOGETHER = 16  # encoders take so many rows at once
LARGEST_HALF = 65_504.0
NEED_IMPORTANCE = {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS"}
TABLES = ("token_embd.weight", "output.weight")  # of them nothing is gathered
VISION_FILE_TYPES = {"F32": 0, "F16": 1, "Q8_0": 7, "BF16": 32}  # numbers of general.file_type

log = logging.getLogger("qwill")

Progress = Callable[[int], None]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Conversion:
    """A GGUF file that can be made: its metadata, and its tensors with the type that each will have.

    watch: over the files that are read. importance: what is known of the columns, for encoders.
    """

    metadata: Mapping[str, Any]
    tensors: Sequence[SourceTensor]
    types: Mapping[str, TensorType]
    watch: Watch
    importance: Importance | None = None

    @property
    def infos(self) -> list[TensorInfo]:
        return [TensorInfo(tensor.name, tensor.shape, self.types[tensor.name]) for tensor in self.tensors]

    def file_bytes(self, split_bytes: int | None = None) -> int:
        """Exact size of the file, or of its parts together."""
        return file_bytes(self.metadata, self.infos, split_bytes)


def plan_model(
    path: Path, recipe: Recipe | None, importance: Importance | None = None, draft_head: bool = True,
    lora: Sequence[tuple[Path, float]] = (),
) -> Conversion:  # fmt: skip
    """The text model of a folder or GGUF file, with its draft head if it has one and it is wanted.

    Without a recipe all tensors keep the types that their values have. lora: adapters with their scales, to be merged.
    Only headers and small tensors are read. Raises UserError: for a source that is none, for a recipe that does not
    suit it, and for an importance file of another model.
    """
    file_type = recipe.file_type if recipe else None
    if path.is_dir():
        checkpoint = open_checkpoint(path)
        adapters = open_adapters(lora, checkpoint)
        checkpoint = with_replaced(checkpoint, [adapter for adapter, _ in adapters])
        draft_head = draft_head and "mtp.fc.weight" in checkpoint.tensors
        check_complete(checkpoint, draft_head)
        tensors = merged(list(language_tensors(checkpoint, draft_head)), adapters, checkpoint)
        metadata = language_metadata(checkpoint, file_type, draft_head)
        watch = Watch(folder_files(path))
    else:
        file = _language_file(path)
        tensors = list(gguf_tensors(file, draft_head))
        if lora:
            checkpoint = open_checkpoint(path)
            adapters = open_adapters(lora, checkpoint)
            tensors = merged(with_own(tensors, adapters), adapters, checkpoint)
        metadata = carried_metadata(file, file_type, draft_head)
        watch = Watch({raw.file for raw in file.tensors.values()})
    watch = Watch([*watch.files, *(file for given, _ in lora for file in adapter_files(given))])
    if importance is not None:
        if not any(tensor.name in importance for tensor in tensors):
            raise InvalidArgument(f"{importance.source}: knows none of the tensors of {path}; it is of another model")
        for tensor in tensors:
            importance.check(tensor.name, tensor.shape[-1], len(tensor.parts))
        metadata |= importance_metadata(importance)
    blocks = 1 + max(
        (int(tensor.name.split(".")[1]) for tensor in tensors if tensor.name.startswith("blk.")), default=0
    )
    experts = max((len(tensor.parts) for tensor in tensors), default=0)
    shapes = [(tensor.name, tensor.shape) for tensor in tensors]
    mix = recipe or load_recipe("BF16")
    types = mix.types(shapes, blocks, experts if experts > 1 else 0, importance is not None)
    if recipe is None:
        types = kept_types(tensors, types)
    _check_encoders(tensors, types)
    return Conversion(metadata, with_factors(tensors, types), types, watch, importance)


def _language_file(path: Path) -> GgufFile:
    """A GGUF file with llama.cpp's names and values, which those of Ollama's converter do not have."""
    file = read_gguf(read_manifest(path).model if is_manifest(path) else path)
    if what := other_kind(file):
        architecture = file.metadata.get("general.architecture")
        before = (
            "" if architecture in (*MODEL_TYPES, None) else f"architecture {architecture!r} is not quantized here: "
        )
        raise UnsupportedModel(f"{path}: {before}{what}")
    form = common_form(file)
    if not form.v_heads_tiled:
        raise UnsupportedModel(f"{path}: has its V heads in another order than GGUF files have; take another file")
    if form.vision is not None:
        log.warning("%s: its vision tower is not carried over; --mmproj makes one of the released folder", path)
    return form.model


def badly_needs_importance(conversion: Conversion) -> list[str]:
    """Types in a file for which llama-quantize insists on importance, where nothing is known of it."""
    if conversion.importance is not None:
        return []
    matrices = (tensor for tensor in conversion.tensors if tensor.name not in TABLES)
    types = {
        conversion.types[tensor.name].name for tensor in matrices if not tensor.can_copy(conversion.types[tensor.name])
    }
    return sorted(types & NEED_IMPORTANCE)


def _check_encoders(tensors: Sequence[SourceTensor], types: Mapping[str, TensorType]) -> None:
    for tensor in tensors:
        target = types[tensor.name]
        if not tensor.can_copy(target) and not codecs.can_encode(target):
            raise InvalidArgument(
                f"{tensor.name}: there is no encoder for {target.name}; give it another type in the recipe"
            )


def plan_vision(path: Path, wanted: str = "F16", lora: Sequence[tuple[Path, float]] = ()) -> Conversion:
    """The vision tower of a folder as an mmproj file, matrices in `wanted`, one of VISION_FILE_TYPES. lora: see
    `plan_model`.

    Raises InvalidArgument for another type, UnsupportedModel for a model without a tower.
    """
    if wanted not in VISION_FILE_TYPES:
        raise InvalidArgument(f"{wanted}: vision files are of type {', '.join(VISION_FILE_TYPES)}; choose one of them")
    if not path.is_dir():
        raise InvalidArgument(f"{path}: a vision file is made from a model's folder; that is a file")
    checkpoint = open_checkpoint(path)
    adapters = open_adapters(lora, checkpoint)
    checkpoint = with_replaced(checkpoint, [adapter for adapter, _ in adapters])
    metadata = vision_metadata(checkpoint, VISION_FILE_TYPES[wanted])
    check_tower(checkpoint)
    tensors = merged(list(vision_tensors(checkpoint)), adapters, checkpoint)
    types = {tensor.name: vision_type(tensor.name, tensor.shape, TYPES[wanted]) for tensor in tensors}
    return Conversion(metadata, tensors, types, Watch(folder_files(path)))


def vision_type(name: str, shape: Sequence[int], wanted: TensorType) -> TensorType:
    """The type of a tensor of a vision tower, as llama.cpp's converter has it.

    Vectors and positions stay F32, patches too unless all is F16; rows that are no whole blocks become F16.
    """
    if len(shape) == 1 or name.startswith("v.position_embd"):
        return TYPES["F32"]
    if name.startswith("v.patch_embd"):
        return wanted if wanted is TYPES["F16"] else TYPES["F32"]
    return TYPES["F16"] if shape[-1] % wanted.block_elements else wanted


def folder_files(folder: Path) -> list[Path]:
    """All that a conversion reads of a folder."""
    return sorted(file for pattern in ("*.safetensors", "*.json", "*.jinja") for file in folder.glob(pattern))


def write_gguf(
    conversion: Conversion,
    destination: Path,
    split_bytes: int | None = None,
    overwrite: bool = False,
    threads: int = 1,
    progress: Progress | None = None,
) -> list[Path]:
    """Makes the file, or its parts of at most `split_bytes` of tensors; returns their paths.

    `progress` is called with bytes as they are written. Raises UserError when the target exists or is part of the
    source, when the disk is full, when a weight is not finite or the source changes; then nothing is left behind.
    """
    writer = GgufWriter(
        destination, conversion.metadata, conversion.infos, split_bytes, overwrite, conversion.watch.files
    )
    own = {file.resolve() for file in conversion.watch.files} & {path.resolve() for path in writer.paths}
    if own:
        raise InvalidArgument(f"{own.pop()}: is what is read; give the result another name")
    with writer:
        for data in in_order(_pieces(conversion), threads):
            writer.write(data)
            if progress is not None:
                progress(data.nbytes)
        conversion.watch.check()
    return writer.paths


def _pieces(conversion: Conversion) -> Iterator[Callable[[], np.ndarray]]:
    """What makes the bytes of each piece, in the order of the file."""
    for tensor in conversion.tensors:
        target = conversion.types[tensor.name]
        count = len(tensor.parts)
        weights = _column_weights(conversion.importance, tensor) if target.block_elements > 1 else None
        step = max(CHUNK_VALUES // tensor.columns // ROWS_TOGETHER, 1) * ROWS_TOGETHER
        for part in range(count):
            for begin in range(0, tensor.rows, step):
                rows = (part, begin, min(begin + step, tensor.rows))
                yield _Piece(conversion.watch, tensor, target, rows, None if weights is None else weights[part])


@dataclass(frozen=True)
class _Piece:
    """Rows of a part of a tensor; called, it gives their bytes in the new file."""

    watch: Watch
    tensor: SourceTensor
    target: TensorType
    rows: tuple[int, int, int]
    importance: np.ndarray | None

    def __call__(self) -> np.ndarray:
        self.watch.check()  # before each reading: pages of a file that has become shorter cannot be read
        tensor, target = self.tensor, self.target
        if tensor.can_copy(target):
            data = tensor.stored(*self.rows)
        else:
            values = tensor.values(*self.rows).reshape(-1, tensor.shape[-1])
            if target is TYPES["F16"] and np.abs(values).max() > LARGEST_HALF:
                raise CheckpointError(
                    f"{tensor.source}: {tensor.name} holds {np.abs(values).max():g}, more than F16 can; take BF16"
                )
            data = codecs.encode(target, values, self.importance)
        tensor.give_back(*self.rows)
        return data


def _column_weights(importance: Importance | None, tensor: SourceTensor) -> np.ndarray | None:
    """float32 [parts, columns]; None when nothing is known."""
    if importance is None:
        return None
    return importance.mean_squares(tensor.name, tensor.shape[-1], len(tensor.parts))


def in_order(pieces: Iterable[Callable[[], Result]], threads: int) -> Iterator[Result]:
    """Results in the order of the pieces, a few of which are computed ahead."""
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[Result]] = deque()
    try:
        for piece in pieces:
            waiting.append(pool.submit(piece))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
