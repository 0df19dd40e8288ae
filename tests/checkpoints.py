"""Tiny random checkpoints for tests, written by transformers and by the `gguf` package.

`tiny_config` makes a configuration, `save_hf` a model with fresh random weights in released layout, `save_gguf` the same weights
as a GGUF file (and its vision file). The conversion here follows the formats' descriptions and shares no code with qwill.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
MERGES = ("t h", "th e", "i n", "Ġ the", "e r", "a n", "an d", "Ġ and")
VOCAB_SIZE = 288  # 256 bytes, the merges, the special tokens, and padding


def tiny_vocabulary(size: int = VOCAB_SIZE) -> tuple[list[str], list[str], list[int]]:
    """Tokens by id, merges, and llama.cpp's token types (1 normal, 3 control, 5 unused)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    tokens = [*alphabet, *(merge.replace(" ", "") for merge in MERGES), *SPECIAL_TOKENS]
    padding = [f"[PAD{i}]" for i in range(len(tokens), size)]
    types = [1] * (256 + len(MERGES)) + [3] * len(SPECIAL_TOKENS) + [5] * len(padding)
    return tokens + padding, list(MERGES), types


def token_id(token: str) -> int:
    return tiny_vocabulary()[0].index(token)


def tiny_config(
    moe: bool = False, vision: bool = False, *, vision_overrides: dict[str, Any] | None = None, **overrides: Any
) -> transformers.PreTrainedConfig:
    """A transformers configuration with a handful of heads and layers; `overrides` go to its text part.

    With `vision=False` it is the text-only configuration of a `...ForCausalLM` checkpoint.
    """
    text: dict[str, Any] = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
        "eos_token_id": token_id("<|im_end|>"),
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000000.0,
            "partial_rotary_factor": 0.25,
            "mrope_section": [2, 1, 1],
            "mrope_interleaved": True,
        },
    }
    if moe:
        text |= {
            "num_experts": 8,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 32,
        }
    else:
        text["intermediate_size"] = 96
    text |= overrides
    family = "Qwen3_5Moe" if moe else "Qwen3_5"
    if not vision:
        return getattr(transformers, f"{family}TextConfig")(**text)
    tower = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": text["hidden_size"],
        "num_position_embeddings": 16,
    }
    return getattr(transformers, f"{family}Config")(
        text_config=text,
        vision_config=tower | (vision_overrides or {}),
        image_token_id=token_id("<|image_pad|>"),
        video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=text["tie_word_embeddings"],
    )


def tiny_model(config: transformers.PreTrainedConfig, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    """The transformers model of a configuration with every parameter random, norms and decays included."""
    ending = "ForConditionalGeneration" if hasattr(config, "vision_config") else "ForCausalLM"
    family = "Qwen3_5Moe" if "moe" in config.model_type else "Qwen3_5"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, family + ending)(copy.deepcopy(config)).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                scale = 0.5 if parameter.ndim == 1 else parameter.shape[-1] ** -0.5
                parameter.copy_(torch.randn(parameter.shape) * scale)
                if name.endswith("linear_attn.norm.weight"):
                    parameter.add_(1)
    return model.to(dtype)


def text_config(config: transformers.PreTrainedConfig) -> transformers.PreTrainedConfig:
    return getattr(config, "text_config", config)


@dataclass
class TinyCheckpoint:
    """A checkpoint on disk, the model it was made from, and all tensors under the names in the files."""

    folder: Path
    config: transformers.PreTrainedConfig
    model: Any
    state: dict[str, torch.Tensor]


def save_hf(
    folder: Path,
    config: transformers.PreTrainedConfig,
    *,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    mtp: bool = False,
    packed: bool = True,
    fp8: bool = False,
    shards: int = 1,
    tokenizer: bool = False,
) -> TinyCheckpoint:
    """A random model in released layout; `mtp` adds a draft head.

    `packed` stores a layer's experts in one tensor, as the BF16 releases do; otherwise, and with `fp8`, one by one.
    """
    model = tiny_model(config, dtype, seed)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    state = load_file(folder / "model.safetensors")  # transformers writes experts one by one
    if mtp:
        state |= draft_head(state, text_config(config), seed)
    if fp8:
        state = quantize_fp8(state)
        edit_json(folder / "config.json", quantization_config=FP8_CONFIG)
    elif packed:
        state = pack_experts(state)
    (folder / "model.safetensors").unlink()
    write_shards(folder, state, shards)
    if tokenizer:
        save_tokenizer(folder)
    return TinyCheckpoint(folder, config, model, state)


def edit_json(path: Path, **changes: Any) -> None:
    """Sets keys of a JSON file; None removes one."""
    value = json.loads(path.read_text()) if path.exists() else {}
    value = {key: item for key, item in (value | changes).items() if item is not None}
    path.write_text(json.dumps(value))


def write_shards(folder: Path, state: dict[str, torch.Tensor], shards: int) -> None:
    """One `model.safetensors`, or so many shards with their index."""
    state = {name: tensor.contiguous() for name, tensor in state.items()}
    if shards == 1:
        save_file(state, folder / "model.safetensors")
        return
    weight_map = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(state.items())[number::shards])
        save_file(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def save_tokenizer(folder: Path) -> None:
    """A byte-level `tokenizer.json` of `tiny_vocabulary`."""
    import tokenizers

    tokens, merges, types = tiny_vocabulary()
    vocabulary = {token: i for i, (token, kind) in enumerate(zip(tokens, types, strict=True)) if kind == 1}
    pairs = [tuple(merge.split(" ")) for merge in merges]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=pairs))
    tokenizer.normalizer = tokenizers.normalizers.NFC()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [tokenizers.AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def draft_head(
    state: dict[str, torch.Tensor], config: transformers.PreTrainedConfig, seed: int
) -> dict[str, torch.Tensor]:
    """Random `mtp.*` tensors: a decoder layer shaped like the checkpoint's first full-attention layer, and its frame."""
    generator = torch.Generator().manual_seed(seed + 1)
    number = config.layer_types.index("full_attention")
    like = next(iter(state.values()))

    def random(*shape: int) -> torch.Tensor:
        scale = 0.5 if len(shape) == 1 else shape[-1] ** -0.5
        return (torch.randn(*shape, generator=generator) * scale).to(like.dtype)

    width = config.hidden_size
    head = {
        "mtp.fc.weight": random(width, 2 * width),
        "mtp.pre_fc_norm_embedding.weight": random(width),
        "mtp.pre_fc_norm_hidden.weight": random(width),
        "mtp.norm.weight": random(width),
    }
    marker = f"layers.{number}."
    for name, tensor in state.items():
        if marker in name and "visual" not in name:
            head["mtp.layers.0." + name.partition(marker)[2]] = random(*tensor.shape)
    return head


def pack_experts(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """One `gate_up_proj` and one `down_proj` for all experts of a layer; the draft head's stay apart, as released."""
    result = {}
    for name, tensor in state.items():
        stem, found, rest = name.partition(".mlp.experts.")
        if not found or name.startswith("mtp."):
            result[name] = tensor
        elif rest == "0.down_proj.weight":
            count = sum(other.startswith(f"{stem}.mlp.experts.") for other in state) // 3
            experts = [f"{stem}.mlp.experts.{number}." for number in range(count)]
            gate, up, down = (
                torch.stack([state[f"{expert}{projection}_proj.weight"] for expert in experts])
                for projection in ("gate", "up", "down")
            )
            result[f"{stem}.mlp.experts.gate_up_proj"] = torch.cat((gate, up), 1)
            result[f"{stem}.mlp.experts.down_proj"] = down
    return result


FP8_CONFIG = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}
_KEPT_FROM_FP8 = (
    "embed_tokens",
    "lm_head",
    "conv1d",
    "in_proj_a",
    "in_proj_b",
    "mlp.gate.",
    "expert_gate",
    "visual",
    "mtp.fc",
)


def quantize_fp8(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """E4M3 matrices with one scale for each 128 x 128 block, and the same exceptions as the releases."""
    result = {}
    for name, tensor in state.items():
        if tensor.ndim != 2 or not name.endswith(".weight") or any(part in name for part in _KEPT_FROM_FP8):
            result[name] = tensor
            continue
        rows, columns = tensor.shape
        scale = torch.empty(-(-rows // 128), -(-columns // 128))
        values = torch.empty(rows, columns, dtype=torch.float8_e4m3fn)
        for i in range(scale.shape[0]):
            for j in range(scale.shape[1]):
                block = tensor[i * 128 : (i + 1) * 128, j * 128 : (j + 1) * 128].float()
                scale[i, j] = block.abs().max() / 448
                values[i * 128 : (i + 1) * 128, j * 128 : (j + 1) * 128] = (block / scale[i, j]).to(values.dtype)
        result[name] = values
        result[name.removesuffix("weight") + "weight_scale_inv"] = scale
    return result


def dequantize_fp8(values: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    rows, columns = values.shape
    spread = scale.float().repeat_interleave(128, 0)[:rows].repeat_interleave(128, 1)[:, :columns]
    return values.float() * spread


def save_gguf(
    path: Path,
    source: TinyCheckpoint,
    *,
    types: str | Callable[[str], str] = "F32",
    head_counts: str = "scalar",
    metadata: dict[str, Any] | None = None,
    mmproj: Path | None = None,
    shard_tensors: int = 0,
    fused: bool = False,
    vocabulary: bool = True,
) -> None:
    """The same weights as a GGUF file, converted as llama.cpp converts them, and the vision tower as `mmproj`.

    `types` is the storage type of the matrices, or gives it from the GGUF name; rows that are no whole blocks stay F32.
    `head_counts`: "scalar" or "array". `metadata` overrides keys (without the architecture's prefix; None leaves one out).
    `shard_tensors` > 0 splits the file after so many tensors. `fused` stores gate and up experts in one tensor.
    """
    config = text_config(source.config)
    architecture = "qwen35moe" if "moe" in config.model_type else "qwen35"
    writer = gguf.GGUFWriter(path, architecture, split_max_tensors=shard_tensors)
    has_head = any(name.startswith("mtp.") for name in source.state)
    for key, value in (language_metadata(config, has_head, head_counts) | (metadata or {})).items():
        add_value(writer, key if key.startswith("general.") else f"{architecture}.{key}", value)
    if vocabulary:
        add_vocabulary(writer, config.vocab_size)
    for name, values in language_tensors(source, fused).items():
        kind = types if isinstance(types, str) else types(name)
        add_tensor(writer, name, values, kind)
    finish(writer)
    if mmproj is not None:
        save_mmproj(mmproj, source)


def language_metadata(config: transformers.PreTrainedConfig, has_head: bool, head_counts: str) -> dict[str, Any]:
    blocks = config.num_hidden_layers + has_head
    full = [kind == "full_attention" for kind in config.layer_types] + [True] * has_head
    rope = config.rope_parameters
    keys = {
        "block_count": blocks,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "attention.recurrent_layers": [not is_full for is_full in full],
        "rope.dimension_count": int(config.head_dim * rope["partial_rotary_factor"]),
        "rope.dimension_sections": [*rope["mrope_section"], 0],
        "rope.freq_base": float(rope["rope_theta"]),
        "full_attention_interval": 4,
        "ssm.conv_kernel": config.linear_conv_kernel_dim,
        "ssm.state_size": config.linear_key_head_dim,
        "ssm.group_count": config.linear_num_key_heads,
        "ssm.time_step_rank": config.linear_num_value_heads,
        "ssm.inner_size": config.linear_value_head_dim * config.linear_num_value_heads,
    }
    if head_counts == "array":
        for key in ("attention.head_count", "attention.head_count_kv"):
            keys[key] = [keys[key] if is_full else 0 for is_full in full]
    if has_head:
        keys["nextn_predict_layers"] = 1
    if "moe" in config.model_type:
        keys |= {
            "expert_count": config.num_experts,
            "expert_used_count": config.num_experts_per_tok,
            "expert_feed_forward_length": config.moe_intermediate_size,
            "expert_shared_feed_forward_length": config.shared_expert_intermediate_size,
        }
    else:
        keys["feed_forward_length"] = config.intermediate_size
    if rope["rope_type"] == "yarn":
        keys |= {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": float(rope["factor"]),
            "rope.scaling.original_context_length": rope["original_max_position_embeddings"],
        }
    return keys


def add_value(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    match value:
        case None:
            pass
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case list():
            writer.add_array(key, value)


def add_vocabulary(writer: gguf.GGUFWriter, size: int) -> None:
    tokens, merges, types = tiny_vocabulary(size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen35")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template("{{ messages }}")


def add_tensor(writer: gguf.GGUFWriter, name: str, values: np.ndarray, kind: str) -> None:
    """Small tensors stay F32, as do rows that do not divide into blocks."""
    quantization = gguf.GGMLQuantizationType[kind]
    block = gguf.GGML_QUANT_SIZES[quantization][0]
    small = values.ndim == 1 or name.endswith(("_norm.weight", "ffn_gate_inp.weight", "ssm_conv1d.weight"))
    if small or kind == "F32" or values.shape[-1] % block:
        writer.add_tensor(name, np.ascontiguousarray(values))
    elif kind == "F16":
        writer.add_tensor(name, values.astype(np.float16))
    else:
        writer.add_tensor(name, gguf.quantize(np.ascontiguousarray(values), quantization), raw_dtype=quantization)


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def language_tensors(source: TinyCheckpoint, fused: bool = False) -> dict[str, np.ndarray]:
    """All tensors of the language model under GGUF names, as float32."""
    config = text_config(source.config)
    layers = config.num_hidden_layers
    architecture = gguf.MODEL_ARCH.QWEN35MOE if "moe" in config.model_type else gguf.MODEL_ARCH.QWEN35
    names = gguf.get_tensor_name_map(architecture, layers + 1)
    frame = {
        "mtp.fc.weight": "eh_proj",
        "mtp.pre_fc_norm_embedding.weight": "enorm",
        "mtp.pre_fc_norm_hidden.weight": "hnorm",
        "mtp.norm.weight": "shared_head_norm",
    }
    result = {}
    for name, values in stack_experts(source.state, fused).items():
        if "visual." in name:
            continue
        if name in frame:
            result[f"blk.{layers}.nextn.{frame[name]}.weight"] = convert(name, values, config)
            continue
        plain = name.replace("language_model.", "").replace("mtp.layers.0", f"model.layers.{layers}")
        plain = plain.replace(".dt_bias", ".dt_proj.bias")
        target = names.get_name(plain, try_suffixes=(".weight", ".bias"))
        assert target is not None, name
        result[target] = convert(name, values, config)
    return result


def stack_experts(state: dict[str, torch.Tensor], fused: bool) -> dict[str, np.ndarray]:
    """float32 arrays; the experts of every layer stacked as `mlp.experts.{gate,up,down}_proj.weight`, or gate and up fused."""
    result: dict[str, np.ndarray] = {}
    experts: dict[str, list[np.ndarray]] = {}
    for name, tensor in state.items():
        values = tensor.float().numpy()
        stem, found, rest = name.partition(".mlp.experts.")
        if not found:
            result[name] = values
        elif rest == "down_proj":
            experts[f"{stem}.mlp.experts.down_proj"] = list(values)
        elif rest == "gate_up_proj":
            half = values.shape[1] // 2
            experts[f"{stem}.mlp.experts.gate_proj"] = list(values[:, :half])
            experts[f"{stem}.mlp.experts.up_proj"] = list(values[:, half:])
        else:
            number, projection, _ = rest.split(".")
            numbered = experts.setdefault(f"{stem}.mlp.experts.{projection}", [])
            numbered.extend([values] * (int(number) + 1 - len(numbered)))
            numbered[int(number)] = values
    for name, matrices in experts.items():
        stem, _, projection = name.rpartition(".")
        if not fused or projection == "down_proj":
            result[f"{name}.weight"] = np.stack(matrices)
        elif projection == "gate_proj":
            pairs = zip(matrices, experts[f"{stem}.up_proj"], strict=True)
            result[f"{stem}.gate_up_proj.weight"] = np.stack([np.concatenate(pair) for pair in pairs])
    return result


def convert(name: str, values: np.ndarray, config: transformers.PreTrainedConfig) -> np.ndarray:
    """A released value as the GGUF holds it: decay, norms, conv, and V heads in tiled order."""
    if name.endswith("A_log"):
        values = -np.exp(values)
    if name.endswith("norm.weight") and "linear_attn" not in name:
        values = values + np.float32(1)
    if "conv1d" in name:
        values = values[:, 0]
    if name.endswith("shared_expert_gate.weight"):
        values = values[0]
    if "linear_attn" not in name or "linear_attn.norm" in name:
        return values
    key_rows = 2 * config.linear_num_key_heads * config.linear_key_head_dim
    order = tiled_order(config)
    rows = (order[:, None] * config.linear_value_head_dim + np.arange(config.linear_value_head_dim)).reshape(-1)
    if "in_proj_qkv" in name or "conv1d" in name:
        return np.concatenate((values[:key_rows], values[key_rows:][rows]))
    if "in_proj_z" in name:
        return values[rows]
    if "out_proj" in name:
        return values[:, rows]
    return values[order]  # in_proj_a, in_proj_b, A_log, dt_bias: one row for each V head


def tiled_order(config: transformers.PreTrainedConfig) -> np.ndarray:
    """Released number of the V head that stands at each place of a GGUF: all first ones of the K heads, then the second."""
    keys, values = config.linear_num_key_heads, config.linear_num_value_heads
    return np.arange(values).reshape(keys, values // keys).T.reshape(-1)


def save_mmproj(path: Path, source: TinyCheckpoint) -> None:
    """The vision tower of a checkpoint as llama.cpp's converter writes it."""
    tower = source.config.vision_config
    writer = gguf.GGUFWriter(path, "clip")
    keys = {
        "clip.has_vision_encoder": True,
        "clip.projector_type": "qwen3vl_merger",
        "clip.use_gelu": True,
        "clip.vision.projection_dim": tower.out_hidden_size,
        "clip.vision.image_size": int(tower.num_position_embeddings**0.5) * tower.patch_size,
        "clip.vision.patch_size": tower.patch_size,
        "clip.vision.embedding_length": tower.hidden_size,
        "clip.vision.feed_forward_length": tower.intermediate_size,
        "clip.vision.block_count": tower.depth,
        "clip.vision.attention.head_count": tower.num_heads,
        "clip.vision.attention.layer_norm_epsilon": 1e-6,
        "clip.vision.spatial_merge_size": tower.spatial_merge_size,
        "clip.vision.image_mean": [0.5, 0.5, 0.5],
        "clip.vision.image_std": [0.5, 0.5, 0.5],
        "clip.vision.is_deepstack_layers": [False] * tower.depth,
    }
    for key, value in keys.items():
        add_value(writer, key, value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, tower.depth)
    merger = {"norm": "v.post_ln", "linear_fc1": "mm.0", "linear_fc2": "mm.2"}
    for name, tensor in source.state.items():
        if not name.startswith("model.visual."):
            continue
        plain, values = name.removeprefix("model."), tensor.float().numpy()
        if plain == "visual.patch_embed.proj.weight":
            writer.add_tensor("v.patch_embd.weight", np.ascontiguousarray(values[:, :, 0]))
            writer.add_tensor("v.patch_embd.weight.1", np.ascontiguousarray(values[:, :, 1]))
        elif plain == "visual.patch_embed.proj.bias":
            writer.add_tensor("v.patch_embd.bias", values)
        elif plain.startswith("visual.merger."):
            _, _, part, ending = plain.split(".")
            writer.add_tensor(f"{merger[part]}.{ending}", values)
        else:
            writer.add_tensor(names.get_name(plain, try_suffixes=(".weight", ".bias")), values)
    finish(writer)
