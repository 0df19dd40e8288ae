#!/usr/bin/env bash
# llguidance 1.9.1: a JSON schema's `const` of a whole number above 2^53 is held to another number.
#
# One would expect: {"const": 9007199254740993} allows the text 9007199254740993 and nothing else; JSON's numbers have no
# bound, and the text of the schema holds this one exactly.
# What happens: the number is read as a double, so an answer that is bound to the schema must be 9007199254740992; the
# number that was asked for is refused in its last digit. The same goes for `enum`, where ids of nineteen digits stand.
#
# Output seen:
#   {"const": 9007199254740991}: 9007199254740991
#   {"const": 9007199254740993}: 9007199254740992
#   {"enum": [1234567890123456789]}: 1234567890123456768
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check llguidance==1.9.1 numpy==2.3.5
cat > "$folder/try.py" <<'PYTHON'
import json

import llguidance

tokenizer = llguidance.LLTokenizer("byte")
for schema in ('{"const": 9007199254740991}', '{"const": 9007199254740993}', '{"enum": [1234567890123456789]}'):
    matcher = llguidance.LLMatcher(tokenizer, json.dumps({"grammars": [{"json_schema": json.loads(schema)}]}), log_level=0)
    said = b""
    while not matcher.is_stopped() and not matcher.is_error():
        digit = next((d for d in b"0123456789" if matcher.validate_tokens([d]) == 1), None)
        if digit is None:
            break
        matcher.consume_token(digit)
        said += bytes([digit])
    print(f"{schema}: {said.decode()}")
PYTHON
"$folder/venv/bin/python" "$folder/try.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
{"const": 9007199254740991}: 9007199254740991
{"const": 9007199254740993}: 9007199254740992
{"enum": [1234567890123456789]}: 1234567890123456768
SEEN
