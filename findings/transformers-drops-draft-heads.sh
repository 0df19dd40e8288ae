#!/usr/bin/env bash
# transformers 5.24.0: a qwen3_5 checkpoint that is loaded and saved again has lost its draft head, the tensors mtp.*.
#
# One would expect: the tensors to be kept, or a warning of unexpected tensors as for others that the model has no place
# for, or mtp_num_hidden_layers to say 0 in the new config.json.
# What happens: they are left out; loading reports no unexpected tensor, and config.json still promises a layer.
#
# Output seen:
#   transformers 5.24.0
#   before: 15 tensors of the draft head, mtp_num_hidden_layers 1
#   loaded: 0 unexpected tensors
#   after: 0 tensors of the draft head, mtp_num_hidden_layers 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/try.py" <<'PYTHON'
import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

CONFIG = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 1,
    "linear_num_value_heads": 2,
    "mtp_num_hidden_layers": 1,
}
ATTENTION = "model.layers.3."


def describe(label, folder):
    with safe_open(folder / "model.safetensors", "pt") as file:
        count = sum(name.startswith("mtp.") for name in file.keys())
    layers = json.loads((folder / "config.json").read_text())["mtp_num_hidden_layers"]
    print(f"{label}: {count} tensors of the draft head, mtp_num_hidden_layers {layers}")


print("transformers", transformers.__version__)
before, after = Path(sys.argv[1], "before"), Path(sys.argv[1], "after")
transformers.Qwen3_5ForCausalLM(transformers.Qwen3_5TextConfig(**CONFIG)).save_pretrained(before)
tensors = load_file(before / "model.safetensors")
head = {"mtp.fc.weight": torch.randn(32, 64)}
for name in ("norm", "pre_fc_norm_hidden", "pre_fc_norm_embedding"):
    head[f"mtp.{name}.weight"] = torch.zeros(32)
for name in [name for name in tensors if name.startswith(ATTENTION)]:
    head[name.replace(ATTENTION, "mtp.layers.0.")] = tensors[name].clone()
save_file(tensors | head, before / "model.safetensors", {"format": "pt"})
describe("before", before)
model, information = transformers.AutoModelForCausalLM.from_pretrained(before, output_loading_info=True)
print(f"loaded: {len(information['unexpected_keys'])} unexpected tensors")
model.save_pretrained(after)
describe("after", after)
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "torch==2.13.0" "transformers==5.24.0"
"$folder/venv/bin/python" "$folder/try.py" "$folder" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
transformers 5.24.0
before: 15 tensors of the draft head, mtp_num_hidden_layers 1
loaded: 0 unexpected tensors
after: 0 tensors of the draft head, mtp_num_hidden_layers 1
SEEN
