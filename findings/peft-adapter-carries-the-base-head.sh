#!/usr/bin/env bash
# peft 0.21.2: an adapter with LoRA on lm_head carries the base model's whole lm_head, and puts it into whatever model it
# is loaded on.
#
# One would expect: the two trained factors of lm_head to be saved, as of any other matrix.
# What happens: the frozen matrix itself is saved beside them (with a warning of an embedding layer, which lm_head is not).
# On a base with another lm_head, loading the adapter replaces that matrix by the saved one, without a word.
#
# Output seen:
#   peft 0.21.2
#   o_proj: saved .lora_A.weight [2, 32] .lora_B.weight [32, 2]
#   o_proj: another base keeps its o_proj True, its lm_head True
#   lm_head: saved .base_layer.weight [1024, 32] .lora_A.weight [2, 32] .lora_B.weight [1024, 2]
#   lm_head: another base keeps its o_proj True, its lm_head False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/try.py" <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

CONFIG = {
    "vocab_size": 1024,
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
    "tie_word_embeddings": False,
}
folder = Path(sys.argv[1])
base = transformers.Qwen3_5ForCausalLM(transformers.Qwen3_5TextConfig(**CONFIG))
base.save_pretrained(folder / "base")
print("peft", version("peft"))
for target in ("o_proj", "lm_head"):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / "base")
    get_peft_model(model, LoraConfig(r=2, target_modules=[target])).save_pretrained(folder / target)
    saved = load_file(folder / target / "adapter_model.safetensors")
    print(f"{target}: saved", *(f"{name.split(target)[1]} {list(tensor.shape)}" for name, tensor in sorted(saved.items())))
    other = transformers.AutoModelForCausalLM.from_pretrained(folder / "base")
    matrices = [other.model.layers[3].self_attn.o_proj.weight, other.lm_head.weight]
    with torch.no_grad():
        for matrix in matrices:
            matrix.add_(1)
    before = [matrix.clone() for matrix in matrices]
    PeftModel.from_pretrained(other, folder / target)
    kept = [torch.equal(*pair) for pair in zip(matrices, before, strict=True)]
    print(f"{target}: another base keeps its o_proj {kept[0]}, its lm_head {kept[1]}")
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    "torch==2.13.0" "transformers==5.24.0" "accelerate==1.15.0" "peft==0.21.2"
"$folder/venv/bin/python" "$folder/try.py" "$folder" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
peft 0.21.2
o_proj: saved .lora_A.weight [2, 32] .lora_B.weight [32, 2]
o_proj: another base keeps its o_proj True, its lm_head True
lm_head: saved .base_layer.weight [1024, 32] .lora_A.weight [2, 32] .lora_B.weight [1024, 2]
lm_head: another base keeps its o_proj True, its lm_head False
SEEN
