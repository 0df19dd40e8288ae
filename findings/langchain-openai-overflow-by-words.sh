#!/usr/bin/env bash
# langchain-openai 1.7.4 (openai 3.57.0): a server's error code `context_length_exceeded` is not what makes an overflow.
#
# One would expect: a 400 whose body has `"code": "context_length_exceeded"` becomes LangChain's ContextOverflowError,
# since that code is how the OpenAI API names an overflow, and openai's exception carries it as `error.code`.
# What happens: the exception is looked at as text, and openai's text is "Error code: 400 - " with the message alone.
# With the code but other words it is an OpenAIInvalidRequestError like any other, so that middleware which shortens
# conversations never runs; with the words "prompt is too long" in the message, in lower case, it is an overflow whatever
# the code says.
#
# Output seen:
#   code alone: OpenAIInvalidRequestError, overflow False
#   words alone: OpenAIContextOverflowError, overflow True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check langchain-openai==1.7.4 openai==3.57.0
cat > "$folder/try.py" <<'PYTHON'
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from langchain_core.exceptions import ContextOverflowError
from langchain_openai import ChatOpenAI

ERRORS = {
    "code alone": {"message": "The conversation does not fit.", "code": "context_length_exceeded"},
    "words alone": {"message": "prompt is too long: 9 tokens > 8 maximum", "code": None},
}


class Overflow(BaseHTTPRequestHandler):
    error = {}

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps({"error": {"type": "invalid_request_error", "param": "messages", **self.error}}).encode()
        self.send_response(400)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Overflow)
threading.Thread(target=server.serve_forever, daemon=True).start()
model = ChatOpenAI(model="m", api_key="none", base_url=f"http://127.0.0.1:{server.server_port}/v1", max_retries=0)
for name, Overflow.error in ERRORS.items():
    try:
        model.invoke("Hello!")
    except Exception as error:
        print(f"{name}: {type(error).__name__}, overflow {isinstance(error, ContextOverflowError)}")
PYTHON
"$folder/venv/bin/python" "$folder/try.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
code alone: OpenAIInvalidRequestError, overflow False
words alone: OpenAIContextOverflowError, overflow True
SEEN
