"""Converts a model with mlx-lm or mlx-vlm and writes what its modules hold: `TOOL SOURCE TARGET VALUES OPTIONS`.

OPTIONS are the keywords of the tool's `convert`, in JSON. VALUES receives every parameter in float32 under MLX's names,
quantized ones as MLX dequantizes them with scales in float32.
"""

import json
import sys
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten

TOOL, SOURCE, TARGET, VALUES, OPTIONS = sys.argv[1:]


def values_of(model: object) -> dict[str, mx.array]:
    """Every parameter in float32; a quantized module's under the name of its weight."""
    values = {name: array.astype(mx.float32) for name, array in tree_flatten(model.parameters())}
    for name, module in model.named_modules():
        if not hasattr(module, "bits"):
            continue
        scales, biases = module.scales, getattr(module, "biases", None)
        if biases is not None:
            scales, biases = scales.astype(mx.float32), biases.astype(mx.float32)
        more = {} if getattr(module, "global_scale", None) is None else {"global_scale": module.global_scale}
        assert not more, "no recipe asks for it"
        values[f"{name}.weight"] = mx.dequantize(
            module.weight, scales, biases, module.group_size, module.bits, module.mode, dtype=mx.float32
        )
        for ending in ("scales", "biases"):
            values.pop(f"{name}.{ending}", None)
    return values


def main() -> None:
    mx.set_default_device(mx.cpu)
    if TOOL == "lm":
        from mlx_lm import convert
        from mlx_lm.utils import load_model
    else:
        from mlx_vlm import convert
        from mlx_vlm.utils import load_model
    convert(SOURCE, TARGET, **json.loads(OPTIONS))
    loaded = load_model(Path(TARGET))
    mx.save_safetensors(VALUES, values_of(loaded[0] if isinstance(loaded, tuple) else loaded))


main()
