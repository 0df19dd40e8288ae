"""The one table of tensor names: canonical, as released (safetensors), and in GGUF files.

Canonical names and values are described in `tensor.py`. Released names are the canonical ones behind a prefix, but
for the few that the table spells out. GGUF names were read from llama.cpp's `conversion/` and `gguf-py`.
"""

import re
from dataclasses import dataclass, replace
from enum import Enum


class Kind(Enum):
    """What happens to the values on the way in."""

    MATRIX = "two dimensions, stays in its own type"
    EXPERTS = "three dimensions or one matrix per expert, stays in its own type"
    GATE_UP = "experts' gate rows, then up rows; split in two"
    NORM = "zero-centred RMSNorm weight: released without its 1, F32"
    VECTOR = "one dimension, F32"
    DECAY = "released as A_log, canonical and GGUF -exp(A_log), F32"
    CONV = "depthwise kernel [channels, 1, width] or squeezed, F32"
    GATE_ROW = "[1, columns] or [columns], F32"
    PATCH = "patch embedding, flattened to one row per output"


@dataclass(frozen=True)
class Row:
    """One tensor of the table. `hf` is given only where the released name is not the canonical one."""

    canonical: str
    gguf: str
    kind: Kind
    hf: str = ""


@dataclass(frozen=True)
class Place:
    """Where a file's tensor belongs: canonical name, kind, which of several parts, and whether it holds scales."""

    name: str
    kind: Kind
    part: int | None = None
    is_scale: bool = False


TOP = (
    Row("embed_tokens.weight", "token_embd.weight", Kind.MATRIX),
    Row("lm_head.weight", "output.weight", Kind.MATRIX),
    Row("norm.weight", "output_norm.weight", Kind.NORM),
    Row("visual.patch_embed.proj.weight", "v.patch_embd.weight", Kind.PATCH),
    Row("visual.patch_embed.proj.bias", "v.patch_embd.bias", Kind.VECTOR),
    Row("visual.pos_embed.weight", "v.position_embd.weight", Kind.MATRIX),
    Row("visual.merger.norm.weight", "v.post_ln.weight", Kind.VECTOR),
    Row("visual.merger.norm.bias", "v.post_ln.bias", Kind.VECTOR),
    Row("visual.merger.linear_fc1.weight", "mm.0.weight", Kind.MATRIX),
    Row("visual.merger.linear_fc1.bias", "mm.0.bias", Kind.VECTOR),
    Row("visual.merger.linear_fc2.weight", "mm.2.weight", Kind.MATRIX),
    Row("visual.merger.linear_fc2.bias", "mm.2.bias", Kind.VECTOR),
)

# In GGUF these stand in the block after the last layer.
MTP = (
    Row("mtp.fc.weight", "nextn.eh_proj.weight", Kind.MATRIX),
    Row("mtp.pre_fc_norm_embedding.weight", "nextn.enorm.weight", Kind.NORM),
    Row("mtp.pre_fc_norm_hidden.weight", "nextn.hnorm.weight", Kind.NORM),
    Row("mtp.norm.weight", "nextn.shared_head_norm.weight", Kind.NORM),
)

# Behind `layers.N.` or `mtp.layers.N.`; in GGUF behind `blk.N.`.
LAYER = (
    Row("input_layernorm.weight", "attn_norm.weight", Kind.NORM),
    Row("post_attention_layernorm.weight", "post_attention_norm.weight", Kind.NORM),
    Row("linear_attn.in_proj_qkv.weight", "attn_qkv.weight", Kind.MATRIX),
    Row("linear_attn.in_proj_z.weight", "attn_gate.weight", Kind.MATRIX),
    Row("linear_attn.in_proj_b.weight", "ssm_beta.weight", Kind.MATRIX),
    Row("linear_attn.in_proj_a.weight", "ssm_alpha.weight", Kind.MATRIX),
    Row("linear_attn.conv1d.weight", "ssm_conv1d.weight", Kind.CONV),
    Row("linear_attn.A", "ssm_a", Kind.DECAY, hf="linear_attn.A_log"),
    Row("linear_attn.dt_bias", "ssm_dt.bias", Kind.VECTOR),
    Row("linear_attn.norm.weight", "ssm_norm.weight", Kind.VECTOR),
    Row("linear_attn.out_proj.weight", "ssm_out.weight", Kind.MATRIX),
    Row("self_attn.q_proj.weight", "attn_q.weight", Kind.MATRIX),
    Row("self_attn.k_proj.weight", "attn_k.weight", Kind.MATRIX),
    Row("self_attn.v_proj.weight", "attn_v.weight", Kind.MATRIX),
    Row("self_attn.o_proj.weight", "attn_output.weight", Kind.MATRIX),
    Row("self_attn.q_norm.weight", "attn_q_norm.weight", Kind.NORM),
    Row("self_attn.k_norm.weight", "attn_k_norm.weight", Kind.NORM),
    Row("mlp.gate_proj.weight", "ffn_gate.weight", Kind.MATRIX),
    Row("mlp.up_proj.weight", "ffn_up.weight", Kind.MATRIX),
    Row("mlp.down_proj.weight", "ffn_down.weight", Kind.MATRIX),
    Row("mlp.gate.weight", "ffn_gate_inp.weight", Kind.MATRIX),
    Row("mlp.experts.gate_proj", "ffn_gate_exps.weight", Kind.EXPERTS),
    Row("mlp.experts.up_proj", "ffn_up_exps.weight", Kind.EXPERTS),
    Row("mlp.experts.down_proj", "ffn_down_exps.weight", Kind.EXPERTS),
    Row("mlp.experts.gate_up_proj", "ffn_gate_up_exps.weight", Kind.GATE_UP),
    Row("mlp.shared_expert.gate_proj.weight", "ffn_gate_shexp.weight", Kind.MATRIX),
    Row("mlp.shared_expert.up_proj.weight", "ffn_up_shexp.weight", Kind.MATRIX),
    Row("mlp.shared_expert.down_proj.weight", "ffn_down_shexp.weight", Kind.MATRIX),
    Row("mlp.shared_expert_gate.weight", "ffn_gate_inp_shexp.weight", Kind.GATE_ROW),
)

# Behind `visual.blocks.N.`; in GGUF behind `v.blk.N.`.
VISION_BLOCK = tuple(
    Row(f"{canonical}.{end}", f"{gguf}.{end}", kind if end == "weight" else Kind.VECTOR)
    for canonical, gguf, kind in (
        ("norm1", "ln1", Kind.VECTOR),
        ("norm2", "ln2", Kind.VECTOR),
        ("attn.qkv", "attn_qkv", Kind.MATRIX),
        ("attn.proj", "attn_out", Kind.MATRIX),
        ("mlp.linear_fc1", "ffn_up", Kind.MATRIX),
        ("mlp.linear_fc2", "ffn_down", Kind.MATRIX),
    )
    for end in ("weight", "bias")
)

# Wrappers before a released name, in any number and order: whole models have `model.language_model.`, text-only ones
# `model.`; the rest comes from trainers, compilers and exporters. What stands behind them says the place by itself.
_WRAPPERS = re.compile(r"(?:(?:model|language_model|module|base_model|transformer)\.)+")
_MLX_TOWER = "vision_tower."
_COMPILED = "_orig_mod."  # of torch.compile, before the name of any part

# Buffers that some checkpoints carry and that follow from the configuration.
_IGNORED = re.compile(
    r"(mtp\.|visual\.)?(layers\.\d+\.self_attn\.|blocks\.\d+\.attn\.)?rotary_(pos_)?emb\.(original_)?inv_freq"
)

_NUMBER = r"(0|[1-9]\d{0,4})"
_HF_LAYER = re.compile(rf"((?:mtp\.)?layers\.{_NUMBER}\.)(.+)")
_HF_BLOCK = re.compile(rf"(visual\.blocks\.{_NUMBER}\.)(.+)")
_HF_EXPERT = re.compile(rf"(mlp\.experts\.){_NUMBER}\.((?:gate|up|down)_proj)\.weight")
_GGUF_BLOCK = re.compile(rf"(v\.)?blk\.{_NUMBER}\.(.+)")
_THIRD_OF_QKV = re.compile(r"attn_([qkv])\.(weight|bias)")

_HF_TOP_ROWS = {row.hf or row.canonical: row for row in TOP + MTP}
_HF_LAYER_ROWS = {row.hf or row.canonical: row for row in LAYER}
_HF_BLOCK_ROWS = {row.canonical: row for row in VISION_BLOCK}
_GGUF_TOP_ROWS = {row.gguf: row for row in TOP}
_GGUF_MTP_ROWS = {row.gguf: row for row in MTP}
_GGUF_LAYER_ROWS = {row.gguf: row for row in LAYER}
_GGUF_BLOCK_ROWS = {row.gguf: row for row in VISION_BLOCK}

_CANONICAL_TOP, _CANONICAL_MTP, _CANONICAL_LAYER, _CANONICAL_BLOCK = (
    {row.canonical: row.gguf for row in rows} for rows in (TOP, MTP, LAYER, VISION_BLOCK)
)


def place_hf(name: str) -> Place | None:
    """Where a tensor of a safetensors checkpoint belongs; None when the table does not know it."""
    name = strip_prefix(name)
    is_scale = name.endswith("_scale_inv")
    name = name.removesuffix("_scale_inv")
    if match := _HF_LAYER.fullmatch(name):
        prefix, _, rest = match.groups()
        if expert := _HF_EXPERT.fullmatch(rest):
            stem, number, projection = expert.groups()
            return Place(f"{prefix}{stem}{projection}", Kind.EXPERTS, int(number), is_scale)
        rest = rest.replace("mlp.switch_mlp.", "mlp.experts.", 1)  # MLX's name
        if rest.startswith("mlp.experts."):
            rest = rest.removesuffix(".weight")
        return _placed(_HF_LAYER_ROWS.get(rest), prefix, None, is_scale)
    if match := _HF_BLOCK.fullmatch(name):
        prefix, _, rest = match.groups()
        return _placed(_HF_BLOCK_ROWS.get(rest), prefix, None, is_scale)
    return _placed(_HF_TOP_ROWS.get(name), "", None, is_scale)


def released_name(name: str, nested: bool) -> str:
    """A name of a safetensors checkpoint as releases have it; `nested`: those whose configuration has a text_config."""
    bare = strip_prefix(name)
    if bare.startswith(("lm_head.", "mtp.")):
        return bare
    if bare.startswith("visual."):
        return f"model.{bare}"
    return f"model.language_model.{bare}" if nested else f"model.{bare}"


def is_ignored_hf(name: str) -> bool:
    """Whether a tensor of a safetensors checkpoint is a buffer that the configuration already determines."""
    return _IGNORED.fullmatch(strip_prefix(name)) is not None


def place_gguf(name: str, layers: int) -> Place | None:
    """Where a tensor of a GGUF file belongs; blocks from number `layers` on are the MTP head's. None: unknown name.

    `X.scale` has the factors of `X.weight`. Ollama's files have the tower's queries, keys and values one by one, and
    experts of the MTP head.
    """
    if name.endswith(".scale"):
        weight = place_gguf(name.removesuffix("scale") + "weight", layers)
        return replace(weight, is_scale=True) if weight else None
    if name == "v.patch_embd.weight.1":
        return Place("visual.patch_embed.proj.weight", Kind.PATCH, 1)
    match = _GGUF_BLOCK.fullmatch(name)
    if not match:
        return _placed(_GGUF_TOP_ROWS.get(name), "", 0 if name == "v.patch_embd.weight" else None)
    vision, number, rest = match[1], int(match[2]), match[3]
    if vision and (third := _THIRD_OF_QKV.fullmatch(rest)):
        row = _GGUF_BLOCK_ROWS[f"attn_qkv.{third[2]}"]
        return _placed(row, f"visual.blocks.{number}.", "qkv".index(third[1]))
    if vision:
        return _placed(_GGUF_BLOCK_ROWS.get(rest), f"visual.blocks.{number}.")
    if number == layers and rest in _GGUF_MTP_ROWS:
        return _placed(_GGUF_MTP_ROWS[rest], "")
    prefix = f"layers.{number}." if number < layers else f"mtp.layers.{number - layers}."
    if expert := _HF_EXPERT.fullmatch(rest):
        return Place(f"{prefix}{expert[1]}{expert[3]}", Kind.EXPERTS, int(expert[2]))
    return _placed(_GGUF_LAYER_ROWS.get(rest), prefix)


def gguf_name(canonical: str, layers: int) -> str:
    """The name of a canonical tensor in a GGUF file of a model with `layers` layers; of the patch embedding the first
    time slice's.
    """
    if match := _HF_LAYER.fullmatch(canonical):
        number = int(match[2]) + (layers if canonical.startswith("mtp.") else 0)
        return f"blk.{number}.{_CANONICAL_LAYER[match[3]]}"
    if match := _HF_BLOCK.fullmatch(canonical):
        return f"v.blk.{match[2]}.{_CANONICAL_BLOCK[match[3]]}"
    if canonical in _CANONICAL_MTP:
        return f"blk.{layers}.{_CANONICAL_MTP[canonical]}"
    return _CANONICAL_TOP[canonical]


def _placed(row: Row | None, prefix: str, part: int | None = None, is_scale: bool = False) -> Place | None:
    return Place(prefix + row.canonical, row.kind, part, is_scale) if row else None


def strip_prefix(name: str) -> str:
    """A name of a safetensors checkpoint without what wrappers of the model put before it."""
    name = name.replace(_COMPILED, "")
    wrappers = _WRAPPERS.match(name)
    name = name[wrappers.end() :] if wrappers else name
    return "visual." + name.removeprefix(_MLX_TOWER) if name.startswith(_MLX_TOWER) else name


def belongs_to_draft_head(name: str) -> bool:
    """Whether a tensor of a safetensors checkpoint, of whatever form, is one of the draft head's."""
    return strip_prefix(name).startswith("mtp.")
