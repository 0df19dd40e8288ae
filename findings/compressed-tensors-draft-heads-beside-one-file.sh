#!/usr/bin/env bash
# compressed-tensors 0.19.0 and 0.20.1: a draft head copied to a model of one file leaves two different layouts.
#
# One would expect: the file of the model to stay as it is, or to be renamed as files of several are,
# model-00001-of-00002.safetensors.
# What happens: 0.19.0 leaves model.safetensors, a whole model by its name, beside an index that names another file too;
# who looks for model.safetensors first never learns of the draft head. 0.20.1 renames it to model_backbone.safetensors,
# so that a folder is read whole only by who follows the index.
#
# Output seen:
#   0.19.0: model.safetensors model.safetensors.index.json model_mtp.safetensors
#   0.20.1: model.safetensors.index.json model_backbone.safetensors model_mtp.safetensors
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/try.py" <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from compressed_tensors.utils.mtp import save_mtp_tensors_to_checkpoint
from safetensors.torch import save_file

source, target = Path(sys.argv[1], "source"), Path(sys.argv[1], "target")
model = {"model.embed_tokens.weight": torch.ones(8, 4)}
for folder, more in ((source, {"mtp.fc.weight": torch.ones(4, 8)}), (target, {})):
    folder.mkdir(parents=True)
    save_file(model | more, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text('{"model_type": "qwen3_5_text"}')
save_mtp_tensors_to_checkpoint(str(source), str(target))
print(f"{version('compressed-tensors')}:", *sorted(file.name for file in target.glob("*.safetensors*")))
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "torch==2.13.0" "transformers==5.17.0"
for version in 0.19.0 0.20.1; do
    "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "compressed-tensors==$version"
    "$folder/venv/bin/python" "$folder/try.py" "$folder/$version" 2> /dev/null | tee -a "$folder/seen"
done
diff "$folder/seen" - <<'SEEN'
0.19.0: model.safetensors model.safetensors.index.json model_mtp.safetensors
0.20.1: model.safetensors.index.json model_backbone.safetensors model_mtp.safetensors
SEEN
