#!/usr/bin/env bash
# llguidance 1.9.1: a schema whose integer has the least signed 64-bit number as its minimum is refused.
#
# One would expect: {"type": "integer", "minimum": -9223372036854775808}, which generators of schemas write for every
# int64, to be a bound like any other; a minimum of -9223372036854774784 and a maximum of 18446744073709551615 are.
# What happens: no grammar is made of it: "Failed to generate regex for integer range".
#
# Output seen:
#   minimum -9223372036854774784: a grammar
#   minimum -9223372036854775808: Failed to generate regex for integer range
#   maximum 18446744073709551615: a grammar
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check llguidance==1.9.1 numpy==2.3.5
cat > "$folder/try.py" <<'PYTHON'
import json

import llguidance

WORDS = "Failed to generate regex for integer range"
tokenizer = llguidance.LLTokenizer("byte")
for bound, value in (("minimum", 1024 - 2**63), ("minimum", -(2**63)), ("maximum", 2**64 - 1)):
    schema = {"type": "integer", bound: value}
    matcher = llguidance.LLMatcher(tokenizer, json.dumps({"grammars": [{"json_schema": schema}]}), log_level=0)
    error = matcher.get_error()
    print(f"{bound} {value}: {'a grammar' if not error else WORDS if WORDS in error else error.splitlines()[0]}")
PYTHON
"$folder/venv/bin/python" "$folder/try.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
minimum -9223372036854774784: a grammar
minimum -9223372036854775808: Failed to generate regex for integer range
maximum 18446744073709551615: a grammar
SEEN
