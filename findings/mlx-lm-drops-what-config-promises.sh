#!/usr/bin/env bash
# mlx-lm 0.32.2: `convert` drops the draft head and the vision tower of a qwen3_5 checkpoint; its new config.json takes
# back only one of the two.
#
# One would expect: the tensors to be kept, a line that says what is left out, or a config.json that fits what is written.
# What happens: mtp_num_hidden_layers still says 1 and the architecture still is that with vision, but vision_config is
# gone, as are all tensors of both. The one line that is printed is "[INFO] Loading".
#
# Output seen:
#   mlx-lm 0.32.2
#   before: 15 tensors of mtp, 21 of vision; mtp_num_hidden_layers 1, vision_config True
#   [INFO] Loading
#   after: 0 tensors of mtp, 0 of vision; mtp_num_hidden_layers 1, vision_config False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/make.py" <<'PYTHON'
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models

TEXT = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
    "linear_num_key_heads": 1,
    "linear_num_value_heads": 2,
    "mtp_num_hidden_layers": 1,
}
VISION = {"depth": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32}
TOKENS = {"image_token_id": 60, "video_token_id": 61, "vision_start_token_id": 62, "vision_end_token_id": 63}
ATTENTION = "model.language_model.layers.3."

folder = Path(sys.argv[1])
config = transformers.Qwen3_5Config(text_config=TEXT, vision_config=VISION, **TOKENS)
transformers.Qwen3_5ForConditionalGeneration(config).save_pretrained(folder)
tensors = load_file(folder / "model.safetensors")
head = {"mtp.fc.weight": torch.randn(32, 64)}
for name in ("norm", "pre_fc_norm_hidden", "pre_fc_norm_embedding"):
    head[f"mtp.{name}.weight"] = torch.zeros(32)
for name in [name for name in tensors if name.startswith(ATTENTION)]:
    head[name.replace(ATTENTION, "mtp.layers.0.")] = tensors[name].clone()
save_file(tensors | head, folder / "model.safetensors", {"format": "pt"})
Tokenizer(models.BPE({chr(33 + number): number for number in range(60)}, [])).save(str(folder / "tokenizer.json"))
PYTHON
cat > "$folder/try.py" <<'PYTHON'
import json
import sys
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
from mlx_lm import convert


def describe(label, folder):
    names = [name for file in folder.glob("*.safetensors") for name in mx.load(str(file))]
    head = sum("mtp." in name for name in names)
    tower = sum("visual." in name or "vision_tower." in name for name in names)
    config = json.loads((folder / "config.json").read_text())
    layers, vision = config["text_config"]["mtp_num_hidden_layers"], "vision_config" in config
    print(f"{label}: {head} tensors of mtp, {tower} of vision; mtp_num_hidden_layers {layers}, vision_config {vision}")


mx.set_default_device(mx.cpu)
before, after = map(Path, sys.argv[1:])
print("mlx-lm", version("mlx-lm"))
describe("before", before)
convert(str(before), str(after))
describe("after", after)
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    "torch==2.13.0" "transformers==5.24.0" "mlx[cpu]==0.32.4" "mlx-lm==0.32.2"
"$folder/venv/bin/python" "$folder/make.py" "$folder/before" 2> /dev/null
"$folder/venv/bin/python" "$folder/try.py" "$folder/before" "$folder/after" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
mlx-lm 0.32.2
before: 15 tensors of mtp, 21 of vision; mtp_num_hidden_layers 1, vision_config True
[INFO] Loading
after: 0 tensors of mtp, 0 of vision; mtp_num_hidden_layers 1, vision_config False
SEEN
