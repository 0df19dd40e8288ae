"""Writes the trained model as an ordinary Hugging Face folder: `python -m training.export DESTINATION`.

With `--gguf FOLDER` also as the pair of GGUF files that the wheel carries.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from training.data import TEMPLATE_FILE
from training.gguf_export import export_gguf
from training.layers import TextShape
from training.preparation import MAX_PIXELS, MIN_PIXELS
from training.start import start_from
from training.tokenizer import ADDED_TOKENS
from training.train import DEFAULT_RUN, build_model
from training.vision import MERGE, PATCH, TEMPORAL, VisionShape

LEAST_FRAME_PIXELS = 64 * 64  # of the videos the model was trained on
CONTEXT = 1024  # the longest training examples are a little shorter
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
TRAINING_ONLY = "auxiliary."  # prefix of tensors that only the training needs


def text_config(shape: TextShape) -> dict[str, Any]:
    layers = ["full_attention" if i % 4 == 3 else "linear_attention" for i in range(shape.num_hidden_layers)]
    return {
        "model_type": "qwen3_5_moe_text",
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "num_hidden_layers": shape.num_hidden_layers,
        "layer_types": layers,
        "full_attention_interval": 4,
        "num_attention_heads": shape.num_attention_heads,
        "num_key_value_heads": shape.num_key_value_heads,
        "head_dim": shape.head_dim,
        "attn_output_gate": True,
        "linear_num_key_heads": shape.linear_num_key_heads,
        "linear_num_value_heads": shape.linear_num_value_heads,
        "linear_key_head_dim": shape.linear_head_dim,
        "linear_value_head_dim": shape.linear_head_dim,
        "linear_conv_kernel_dim": shape.linear_conv_kernel_dim,
        "num_experts": shape.num_experts,
        "num_experts_per_tok": shape.num_experts_per_tok,
        "moe_intermediate_size": shape.moe_intermediate_size,
        "shared_expert_intermediate_size": shape.shared_expert_intermediate_size,
        "hidden_act": "silu",
        "rms_norm_eps": shape.rms_norm_eps,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "max_position_embeddings": CONTEXT,
        "mtp_num_hidden_layers": 1,
        "mtp_use_dedicated_embeddings": False,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": shape.rope_theta,
            "partial_rotary_factor": shape.partial_rotary_factor,
            "mrope_interleaved": True,
            "mrope_section": list(shape.mrope_section),
        },
        "tie_word_embeddings": False,
        "use_cache": True,
    }


def config(tokenizer: Tokenizer, text: TextShape, vision: VisionShape, dtype: str) -> dict[str, Any]:
    ids = {
        name: tokenizer.token_to_id(f"<|{name}|>") for name in ("image_pad", "video_pad", "vision_start", "vision_end")
    }
    return {
        "architectures": ["Qwen3_5MoeForConditionalGeneration"],
        "model_type": "qwen3_5_moe",
        "dtype": dtype,
        "tie_word_embeddings": False,
        "image_token_id": ids["image_pad"],
        "video_token_id": ids["video_pad"],
        "vision_start_token_id": ids["vision_start"],
        "vision_end_token_id": ids["vision_end"],
        "text_config": text_config(text)
        | {
            "dtype": dtype,
            "eos_token_id": tokenizer.token_to_id("<|im_end|>"),
            "pad_token_id": tokenizer.token_to_id("<|endoftext|>"),
        },
        "vision_config": {
            "model_type": "qwen3_5_moe_vision",
            "depth": vision.depth,
            "hidden_size": vision.hidden_size,
            "intermediate_size": vision.intermediate_size,
            "num_heads": vision.num_heads,
            "num_position_embeddings": vision.num_position_embeddings,
            "out_hidden_size": vision.out_hidden_size,
            "hidden_act": "gelu_pytorch_tanh",
            "in_channels": 3,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": TEMPORAL,
            "deepstack_visual_indexes": [],
        },
    }


def processor(kind: str, smallest: int, largest: int) -> dict[str, Any]:
    return {
        "size": {"shortest_edge": smallest, "longest_edge": largest},
        "patch_size": PATCH,
        "temporal_patch_size": TEMPORAL,
        "merge_size": MERGE,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "processor_class": "Qwen3VLProcessor",
        kind: {"image_processor_type": "Qwen2VLImageProcessorFast", "video_processor_type": "Qwen3VLVideoProcessor"}[
            kind
        ],
    }


def tokenizer_config(tokenizer: Tokenizer) -> dict[str, Any]:
    decoder = {
        str(tokenizer.token_to_id(content)): {
            "content": content,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": special,
        }
        for content, special in ADDED_TOKENS
    }
    return {
        "tokenizer_class": "Qwen2Tokenizer",
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": decoder,
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "errors": "replace",
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": False,
        "model_max_length": CONTEXT,
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "vision_bos_token": "<|vision_start|>",
        "vision_eos_token": "<|vision_end|>",
        "audio_bos_token": "<|audio_start|>",
        "audio_eos_token": "<|audio_end|>",
        "audio_token": "<|audio_pad|>",
    }


def checkpoint_tensors(state: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The state dict in `dtype`, without what only the training needs; A_log and the gated norm stay float32, as in the
    releases.
    """
    keep = ("A_log", "linear_attn.norm.weight")
    return {
        name: tensor.to(torch.float32 if name.endswith(keep) else dtype).contiguous()
        for name, tensor in state.items()
        if not name.startswith(TRAINING_ONLY)
    }


def averaged(state: dict[str, torch.Tensor], start: dict[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
    """`share` of the trained weights and the rest of those that the run started from.

    A run that goes on from trained weights for a while and a few subjects gains in these and loses a little in others;
    the average keeps most of both (Wortsman and others, "Robust fine-tuning of zero-shot models", 2022).
    """
    return {name: share * tensor + (1 - share) * start[name] for name, tensor in state.items()}


def export(
    run: Path, destination: Path, dtype: str = "bfloat16", start: Path | None = None, share: float = 1.0
) -> None:
    """Writes the folder from a run's last checkpoint; `dtype` is a key of DTYPES.

    start, share: average the weights with those of that GGUF pair, see `averaged`.
    """
    destination.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(run / "tokenizer.json"))
    model = build_model(tokenizer, torch.float32)
    model.load_state_dict(torch.load(run / "checkpoint.pt", weights_only=True)["model"])
    if start is not None:
        trained = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        start_from(start, model)
        model.load_state_dict(averaged(trained, model.state_dict(), share))
    eos = [tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")]
    documents = {
        "config.json": config(tokenizer, model.shape, model.model.visual.shape, dtype),
        "generation_config.json": {
            "do_sample": False,
            "eos_token_id": eos,
            "pad_token_id": eos[1],
            "max_new_tokens": 256,
        },
        "preprocessor_config.json": processor("image_processor_type", MIN_PIXELS, MAX_PIXELS),
        "video_preprocessor_config.json": processor("video_processor_type", LEAST_FRAME_PIXELS, 16 * MAX_PIXELS)
        | {"fps": 2, "min_frames": 4, "max_frames": 32},
        "tokenizer_config.json": tokenizer_config(tokenizer),
    }
    for name, document in documents.items():
        (destination / name).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.copyfile(run / "tokenizer.json", destination / "tokenizer.json")
    shutil.copyfile(TEMPLATE_FILE, destination / "chat_template.jinja")
    weights = destination / "model.safetensors"
    save_file(checkpoint_tensors(model.state_dict(), DTYPES[dtype]), weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # the library leaves it readable by its owner only


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("destination", type=Path)
    parser.add_argument("--run", type=Path, default=DEFAULT_RUN)
    parser.add_argument("--average", type=Path, metavar="GGUF", help="with the weights that the run started from")
    parser.add_argument("--share", type=float, default=0.7, help="of the trained weights in that average (0.7)")
    parser.add_argument("--dtype", default="bfloat16", choices=DTYPES)
    parser.add_argument("--gguf", type=Path, metavar="FOLDER", help="also write the pair of GGUF files there")
    options = parser.parse_args()
    export(options.run, options.destination, options.dtype, options.average, options.share)
    if options.gguf is not None:
        export_gguf(options.destination, options.gguf)


if __name__ == "__main__":
    main()
