#!/usr/bin/env bash
# transformers 5.24.0: YaRN at the top of a composite qwen3_5 config.json, beside `text_config`, never reaches the text
# model.
#
# One would expect: the setting to be handed to the text model, or a refusal that names the right place.
# What happens: without max_position_embeddings at the top, an AttributeError from YaRN's own checks; with it the
# configuration loads, keeps YaRN at the top and leaves the text model's positions as they were, in silence.
#
# Output seen:
#   transformers 5.24.0
#   in text_config: the text model has yarn
#   at the top: AttributeError: 'Qwen3_5Config' object has no attribute 'max_position_embeddings'
#   at the top, with max_position_embeddings: the text model has default
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/try.py" <<'PYTHON'
import json
import sys
from pathlib import Path

import transformers

ROPE = {"rope_type": "default", "rope_theta": 10000000, "partial_rotary_factor": 0.25, "mrope_section": [11, 11, 10]}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 262144}
CASES = {
    "in text_config": (ROPE | YARN, {}),
    "at the top": (ROPE, {"rope_scaling": YARN}),
    "at the top, with max_position_embeddings": (ROPE, {"rope_scaling": YARN, "max_position_embeddings": 262144}),
}
print("transformers", transformers.__version__)
for label, (rope, top) in CASES.items():
    text = {"model_type": "qwen3_5_text", "max_position_embeddings": 262144, "rope_parameters": rope}
    Path(sys.argv[1], "config.json").write_text(json.dumps({"model_type": "qwen3_5", "text_config": text} | top))
    try:
        read = transformers.AutoConfig.from_pretrained(sys.argv[1]).text_config.rope_parameters
        print(f"{label}: the text model has {read['rope_type']}")
    except Exception as error:
        print(f"{label}: {type(error).__name__}: {error}")
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "transformers==5.24.0"
"$folder/venv/bin/python" "$folder/try.py" "$folder" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
transformers 5.24.0
in text_config: the text model has yarn
at the top: AttributeError: 'Qwen3_5Config' object has no attribute 'max_position_embeddings'
at the top, with max_position_embeddings: the text model has default
SEEN
