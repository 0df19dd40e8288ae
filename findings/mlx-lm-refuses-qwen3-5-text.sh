#!/usr/bin/env bash
# mlx-lm 0.32.2: refuses a text-only Qwen 3.5 checkpoint as transformers 5.24.0 saves it.
#
# One would expect: a model that mlx-lm implements, all whose tensors it takes by these very names, to be loaded.
# What happens: the model_type that transformers writes for it, qwen3_5_text, is not supported; the same folder loads
# when nothing but that word is changed to qwen3_5.
#
# Output seen:
#   mlx-lm 0.32.2
#   qwen3_5_text: ValueError: Model type qwen3_5_text not supported.
#   qwen3_5: loads
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/try.py" <<'PYTHON'
import json
import sys
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import transformers
from mlx_lm.utils import load_model

CONFIG = {
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
}
mx.set_default_device(mx.cpu)
folder = Path(sys.argv[1])
transformers.Qwen3_5ForCausalLM(transformers.Qwen3_5TextConfig(**CONFIG)).save_pretrained(folder)
saved = json.loads((folder / "config.json").read_text())
print("mlx-lm", version("mlx-lm"))
for config in (saved, saved | {"model_type": "qwen3_5"}):
    (folder / "config.json").write_text(json.dumps(config))
    try:
        load_model(folder)
        print(f"{config['model_type']}: loads")
    except ValueError as error:
        print(f"{config['model_type']}: ValueError: {error}")
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    "torch==2.13.0" "transformers==5.24.0" "mlx[cpu]==0.32.4" "mlx-lm==0.32.2"
"$folder/venv/bin/python" "$folder/try.py" "$folder/model" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
mlx-lm 0.32.2
qwen3_5_text: ValueError: Model type qwen3_5_text not supported.
qwen3_5: loads
SEEN
