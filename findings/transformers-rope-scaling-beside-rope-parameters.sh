#!/usr/bin/env bash
# transformers 5.24.0: `rope_scaling` beside `rope_parameters` in a qwen3_5_text configuration drops the base and the
# sections of positions.
#
# One would expect: YaRN's three keys to be added to `rope_parameters`, or a line that says what is lost.
# What happens: `rope_scaling` takes the whole place of `rope_parameters`. rope_theta falls from 10000000 to 10000 and
# mrope_section vanishes. The configuration loads; the one warning is that the name rope_scaling is deprecated.
#
# Output seen:
#   transformers 5.24.0
#   rope_parameters alone: rope_theta 10000000, mrope_section [11, 11, 10]
#   with rope_scaling too: rope_theta 10000.0, mrope_section None
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/try.py" <<'PYTHON'
import json
import sys
from pathlib import Path

import transformers

CONFIG = {
    "model_type": "qwen3_5_text",
    "max_position_embeddings": 262144,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000000,
        "partial_rotary_factor": 0.25,
        "mrope_interleaved": True,
        "mrope_section": [11, 11, 10],
    },
}
YARN = {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 262144}}
print("transformers", transformers.__version__)
for label, more in (("rope_parameters alone", {}), ("with rope_scaling too", YARN)):
    Path(sys.argv[1], "config.json").write_text(json.dumps(CONFIG | more))
    rope = transformers.AutoConfig.from_pretrained(sys.argv[1]).rope_parameters
    print(f"{label}: rope_theta {rope['rope_theta']}, mrope_section {rope.get('mrope_section')}")
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "transformers==5.24.0"
"$folder/venv/bin/python" "$folder/try.py" "$folder" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
transformers 5.24.0
rope_parameters alone: rope_theta 10000000, mrope_section [11, 11, 10]
with rope_scaling too: rope_theta 10000.0, mrope_section None
SEEN
