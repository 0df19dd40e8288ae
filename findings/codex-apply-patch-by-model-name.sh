#!/usr/bin/env bash
# Codex 0.171.0: whether the model is offered the tool `apply_patch` depends on the model's name alone.
#
# One would expect: the tool with which Codex edits files is offered to whatever model a provider serves, as its shell is.
# What happens: only names that Codex has metadata for get it, as a `custom` tool with a Lark grammar. With a name of
# one's own, the same server is offered the shell and plans, but no `apply_patch`; nothing is said about it in the answer.
#
# Output seen:
#   gpt-5.5: apply_patch offered as custom
#   my-model: no apply_patch
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install @openai/codex@0.171.0 --prefix "$folder" --silent --no-audit --no-fund > /dev/null
cat > server.py <<'PYTHON'
import json
from http.server import BaseHTTPRequestHandler, HTTPServer

ANSWER = {"id": "resp_1", "object": "response", "created_at": 0, "status": "completed", "model": "m", "output": []}


class Recorder(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        kinds = [tool["type"] for tool in body.get("tools", []) if tool.get("name") == "apply_patch"]
        with open("seen", "a") as seen:
            told = f"apply_patch offered as {kinds[0]}" if kinds else "no apply_patch"
            print(f"{body['model']}: {told}", file=seen)
        message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                   "content": [{"type": "output_text", "text": "Done.", "annotations": []}]}
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        events = [
            {"type": "response.created", "response": ANSWER | {"status": "in_progress"}},
            {"type": "response.output_item.done", "output_index": 0, "item": message},
            {"type": "response.completed", "response": ANSWER | {"output": [message], "usage": usage}},
        ]
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for event in events:
            self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())

    def do_GET(self):
        self.send_response(404)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Recorder)
with open("port", "w") as port:
    port.write(str(server.server_port))
server.serve_forever()
PYTHON
python3 server.py &
server=$!
trap 'kill "$server"; rm -rf "$folder"' EXIT
until [ -s port ]; do sleep 0.1; done
export CODEX_HOME=$folder/home
mkdir -p "$CODEX_HOME" work
for model in gpt-5.5 my-model; do
    cat > "$CODEX_HOME/config.toml" <<TOML
model = "$model"
model_provider = "own"
check_for_update_on_startup = false
[analytics]
enabled = false
[model_providers.own]
name = "own"
base_url = "http://127.0.0.1:$(cat port)/v1"
wire_api = "responses"
TOML
    (cd work && timeout 120 "$folder/node_modules/.bin/codex" exec --skip-git-repo-check "Say done." < /dev/null > /dev/null 2>&1)
done
sort -u seen
diff <(sort -u seen) - <<'SEEN'
gpt-5.5: apply_patch offered as custom
my-model: no apply_patch
SEEN
