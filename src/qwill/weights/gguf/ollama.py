"""Files that Ollama's converter has made of this family, brought into the form that all other GGUF files have.

Until May 2026 it wrote one file: text model, draft head (`mtp.*`) and vision tower (`v.*`), the latter two under names
of the release, the tower's settings under `ARCHITECTURE.vision.`. `ssm_dt` has no `.bias`; queries, keys and values of
the tower are three matrices; V heads are tiled unless `ssm.v_head_reordered` denies it. Norms of the text model have
their 1 added, those of the draft head's frame do not. Read from its `convert/convert_qwen3next.go`, and from how its
`llama/compat` reads such files. Later files have the common form.
"""

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qwill.errors import CheckpointError
from qwill.weights.assemble import float_values
from qwill.weights.gguf.config import MODEL_TYPES
from qwill.weights.gguf.file import GgufFile
from qwill.weights.gguf.vision import PROJECTOR
from qwill.weights.mapped import RawTensor
from qwill.weights.names import gguf_name, place_hf

VISION_PREFIXES = ("v.", "mm.")
# Parts of names in Ollama's files, and what others have there.
_VISION_NAMES = (
    ("v.pos_embed.", "v.position_embd."), ("v.patch_embed.", "v.patch_embd."), ("v.merger.norm.", "v.post_ln."),
    ("v.merger.linear_fc1.", "mm.0."), ("v.merger.linear_fc2.", "mm.2."), (".mlp.linear_fc1.", ".ffn_up."),
    (".mlp.linear_fc2.", ".ffn_down."), (".norm1.", ".ln1."), (".norm2.", ".ln2."),
)  # fmt: skip
_VISION_KEYS = {
    "block_count": "block_count", "embedding_length": "embedding_length",
    "attention.head_count": "attention.head_count", "feed_forward_length": "feed_forward_length",
    "patch_size": "patch_size", "spatial_merge_size": "spatial_merge_size",
    "image_mean": "image_mean", "image_std": "image_std",
    "shortest_edge": "image_min_pixels", "longest_edge": "image_max_pixels",
}  # fmt: skip
_DRAFT_LAYER = re.compile(r"mtp\.layers\.0\.(.+)")
# Norms of the draft head behind `blk.N.`: of its layer, and of its frame, which are sure to be without their 1.
_LAYER_NORM = re.compile(r"(attn_norm|post_attention_norm|attn_q_norm|attn_k_norm)\.weight")
_FRAME_NORM = re.compile(r"nextn\.(enorm|hnorm|shared_head_norm)\.weight")
_UINT32 = 4  # as a type of metadata


@dataclass(frozen=True)
class CommonForm:
    """What a file holds. `v_heads_tiled`: as in a checkpoint."""

    model: GgufFile
    vision: GgufFile | None = None
    v_heads_tiled: bool = True


def common_form(file: GgufFile) -> CommonForm:
    """A language model's file with the names and values that llama.cpp's have, its vision tower a file of its own.

    Other files are given as they are. Raises CheckpointError when the tower's patches have another shape.
    """
    architecture, names = file.architecture, file.tensors.keys()
    old = any(name.endswith(".ssm_dt") for name in names)
    if architecture not in MODEL_TYPES or not (
        old or any(name.startswith((*VISION_PREFIXES, "mtp.")) for name in names)
    ):
        return CommonForm(file)
    model = _with_draft_head(file, _model_tensors(file))
    tiled = file.metadata.get(f"{architecture}.ssm.v_head_reordered") is not False
    return CommonForm(model, _vision(file), tiled)


def _model_tensors(file: GgufFile) -> dict[str, RawTensor]:
    tensors = {}
    for name, raw in file.tensors.items():
        if not name.startswith((*VISION_PREFIXES, "mtp.")):
            name = f"{name}.bias" if name.endswith(".ssm_dt") else name
            tensors[name] = _gate_row(raw._replace(name=name))
    return tensors


def _gate_row(raw: RawTensor) -> RawTensor:
    """The gate of the shared expert is a vector in other files, here a matrix of one row."""
    is_row = raw.name.endswith("ffn_gate_inp_shexp.weight") and len(raw.shape) == 2 and raw.shape[0] == 1
    return raw._replace(shape=raw.shape[1:]) if is_row else raw


def _with_draft_head(file: GgufFile, tensors: dict[str, RawTensor]) -> GgufFile:
    """The model's file with `mtp.*` as the block behind its layers, which `block_count` then counts."""
    prefix = file.architecture
    kept = (key for key in file.metadata if not key.startswith(f"{prefix}.vision."))
    metadata = {key: file.metadata[key] for key in kept}
    encoded = {key: value for key, value in file.encoded.items() if key in metadata}
    head = [raw for name, raw in file.tensors.items() if name.startswith("mtp.")]
    layers = metadata.get(f"{prefix}.block_count")
    drafting = metadata.get(f"{prefix}.nextn_predict_layers", 0)
    if head and type(layers) is int and type(drafting) is int and not drafting and layers + 1 < 1 << 32:
        for raw in _draft_tensors(head, layers, tensors):
            tensors[raw.name] = _gate_row(raw)
        for key, count in ((f"{prefix}.block_count", layers + 1), (f"{prefix}.nextn_predict_layers", 1)):
            metadata[key] = count
            encoded[key] = memoryview(struct.pack("<II", _UINT32, count))
    return replace(file, metadata=metadata, tensors=tensors, encoded=encoded)


def _draft_tensors(head: list[RawTensor], layers: int, model: dict[str, RawTensor]) -> Iterable[RawTensor]:
    """`mtp.*` under the names of block number `layers`, norms with their 1."""
    named = [raw._replace(name=_draft_name(raw.name, layers)) for raw in head]
    added = _have_their_one(named, model)
    for raw in named:
        part = raw.name.removeprefix(f"blk.{layers}.")
        bare = _FRAME_NORM.fullmatch(part) or (not added and _LAYER_NORM.fullmatch(part))
        yield _plus_one(raw) if bare else raw


def _draft_name(name: str, layers: int) -> str:
    """Ollama leaves the released names of the head's frame, and of its layer those that have no place of their own."""
    place = place_hf(name)
    if place is not None and place.part is None and not place.is_scale:
        return gguf_name(place.name, layers)
    match = _DRAFT_LAYER.fullmatch(name)
    return f"blk.{layers}.{match[1]}" if match else name


def _have_their_one(head: list[RawTensor], model: dict[str, RawTensor]) -> bool:
    """Whether the norms of the draft head's layer have their 1 added.

    The converter's source adds it, and the loader's reads them as if it had not: so it is told by the values, those of
    the model's own norms of the same names being known.
    """
    distances = []
    for raw in head:
        ending = raw.name.partition(".")[2].partition(".")[2]
        if _LAYER_NORM.fullmatch(ending):
            own = [float_values(other).mean() for name, other in model.items() if name.endswith(f".{ending}")]
            if own:
                distances.append(float_values(raw).mean() - np.mean(own))
    return not distances or float(np.mean(distances)) > -0.5


def _plus_one(raw: RawTensor) -> RawTensor:
    values = float_values(raw) + np.float32(1)
    return RawTensor(raw.name, "F32", raw.shape, values.view(np.uint8), raw.file)


def _vision(file: GgufFile) -> GgufFile | None:
    """The tower as a vision file has it; None when there is none."""
    tensors: dict[str, RawTensor] = {}
    for raw in file.tensors.values():
        if raw.name.startswith(VISION_PREFIXES):
            for part in _patch_slices(raw) if raw.name == "v.patch_embed.weight" else [raw]:
                name = part.name
                for theirs, common in _VISION_NAMES:
                    name = name.replace(theirs, common)
                tensors[name] = part._replace(name=name)
    if not tensors:
        return None
    prefix = f"{file.architecture}.vision"
    metadata: dict[str, Any] = {"general.architecture": "clip", "clip.projector_type": PROJECTOR}
    metadata["clip.vision.projection_dim"] = file.metadata.get(f"{file.architecture}.embedding_length")
    for theirs, common in _VISION_KEYS.items():
        if (value := file.metadata.get(f"{prefix}.{theirs}")) is not None:
            metadata[f"clip.vision.{common}"] = value
    if "clip.vision.feed_forward_length" not in metadata and "v.blk.0.ffn_up.weight" in tensors:
        metadata["clip.vision.feed_forward_length"] = tensors["v.blk.0.ffn_up.weight"].shape[0]
    deepstack = file.metadata.get(f"{prefix}.deepstack_visual_indexes")
    metadata["clip.vision.is_deepstack_layers"] = np.ones(
        len(deepstack) if isinstance(deepstack, np.ndarray) else 0, bool
    )
    metadata |= {key: value for key, value in file.metadata.items() if key.startswith("clip.")}
    return GgufFile(file.path, metadata, tensors)


def _patch_slices(raw: RawTensor) -> list[RawTensor]:
    """[outputs * channels, frames, height, width] as a tensor [outputs, channels, height, width] for each frame."""
    channels = 3
    if len(raw.shape) != 4 or raw.shape[1] != 2 or raw.shape[0] % channels:
        raise CheckpointError(f"{raw.source}: has shape {list(raw.shape)}, which no patch embedding of this family has")
    packed, frames, height, width = raw.shape
    slices = raw.data.reshape(packed, frames, -1)
    return [
        RawTensor(
            f"v.patch_embed.weight{ending}",
            raw.dtype,
            (packed // channels, channels, height, width),
            np.ascontiguousarray(slices[:, frame]).reshape(-1),
            raw.file,
        )
        for frame, ending in enumerate(("", ".1"))
    ]
