#!/usr/bin/env bash
# litellm 1.110.2: the same refusal of a prompt that is too long is an overflow from an OpenAI server and a mere bad
# request from an Ollama server.
#
# One would expect: whatever the provider, words that LiteLLM knows for an overflow ("prompt is too long", "This model's
# maximum context length is") become ContextWindowExceededError, as its documentation of exceptions says of all providers.
# What happens: for `ollama_chat/` a 400 becomes BadRequestError without a look at its words, so that fallbacks for long
# contexts (`context_window_fallbacks`) never run.
#
# Output seen:
#   openai/m: ContextWindowExceededError
#   ollama_chat/m: BadRequestError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check litellm==1.110.2
cat > "$folder/try.py" <<'PYTHON'
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import litellm

MESSAGE = "prompt is too long: 9 tokens > 8 maximum. This model's maximum context length is 8 tokens."


class Overflow(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        error = MESSAGE if self.path.startswith("/api/") else {"message": MESSAGE, "type": "invalid_request_error"}
        body = json.dumps({"error": error}).encode()
        self.send_response(400)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Overflow)
threading.Thread(target=server.serve_forever, daemon=True).start()
litellm.suppress_debug_info = True
for name, path in (("openai/m", "/v1"), ("ollama_chat/m", "")):
    try:
        litellm.completion(
            name, [{"role": "user", "content": "Hello!"}], api_key="none", num_retries=0,
            api_base=f"http://127.0.0.1:{server.server_port}{path}",
        )
    except Exception as error:
        print(f"{name}: {type(error).__name__}")
PYTHON
LITELLM_LOCAL_MODEL_COST_MAP=True "$folder/venv/bin/python" "$folder/try.py" 2> "$folder/log" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
openai/m: ContextWindowExceededError
ollama_chat/m: BadRequestError
SEEN
