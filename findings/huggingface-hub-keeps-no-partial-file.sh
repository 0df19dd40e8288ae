#!/usr/bin/env bash
# huggingface_hub 2.4.0: what was loaded of a file is thrown away when the download ends early.
#
# One would expect: a later try to go on where the earlier one stopped, as 1.4.0 does by the file BLOB.incomplete that it
# leaves behind.
# What happens: each try writes to a file of its own, which is removed when the try fails; the next begins at byte 0.
#
# Output seen:
#   1.4.0: kept 40000 bytes, the second try asks for bytes=40000-
#   2.4.0: kept 0 bytes, the second try asks for the whole file
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/try.py" <<'PYTHON'
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

os.environ |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_VERBOSITY": "critical"}
DATA, COMMIT, DIGEST = bytes(100_000), "8" * 40, "a" * 64
asked = []


class Hub(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(b"", len(DATA))

    def do_GET(self):
        asked.append(self.headers.get("Range", "the whole file"))
        if len(asked) > 1:
            self.send_error(503)
            return
        self.answer(DATA[:40_000], len(DATA))

    def answer(self, body, length):
        self.send_response(200)
        for name, value in {"Content-Length": length, "X-Repo-Commit": COMMIT, "ETag": f'"{DIGEST}"'}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)


server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
import huggingface_hub
from huggingface_hub import constants

constants.DOWNLOAD_CHUNK_SIZE = 1_000
cache = Path(sys.argv[1])
begin = kept = 0
for attempt in range(2):
    begin = len(asked)
    try:
        huggingface_hub.hf_hub_download(
            "o/m", "model.safetensors", cache_dir=cache, endpoint=f"http://127.0.0.1:{server.server_port}"
        )
    except Exception:
        pass
    if not attempt:
        kept = sum(file.stat().st_size for file in cache.rglob("*.incomplete"))
print(f"{huggingface_hub.__version__}: kept {kept} bytes, the second try asks for {asked[begin]}")
PYTHON
for version in 1.4.0 2.4.0; do
    python3 -m venv "$folder/venv-$version"
    "$folder/venv-$version/bin/pip" install --quiet --disable-pip-version-check "huggingface_hub==$version"
    "$folder/venv-$version/bin/python" "$folder/try.py" "$folder/cache-$version" 2> /dev/null | tee -a "$folder/seen"
done
diff "$folder/seen" - <<'SEEN'
1.4.0: kept 40000 bytes, the second try asks for bytes=40000-
2.4.0: kept 0 bytes, the second try asks for the whole file
SEEN
