"""Tiny random checkpoints for tests in released layout, made with transformers.

`tiny_config` makes a configuration, `save_hf` a model with fresh random weights; `gguf_checkpoints.save_gguf` writes
the same weights as a GGUF file.
"""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
SPLIT_PATTERN = r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s+"
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
        edit_text_config(folder, mtp_num_hidden_layers=1)
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


def edit_text_config(folder: Path, **changes: Any) -> None:
    """Sets keys of the text part of a folder's `config.json`."""
    config = json.loads((folder / "config.json").read_text())
    config.get("text_config", config).update(changes)
    (folder / "config.json").write_text(json.dumps(config))


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
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(SPLIT_PATTERN), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [tokenizers.AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def draft_head(
    state: dict[str, torch.Tensor], config: transformers.PreTrainedConfig, seed: int
) -> dict[str, torch.Tensor]:
    """Random `mtp.*` tensors: a decoder layer shaped like the first full-attention layer, and its frame."""
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
