"""Bodies that the server takes, of all dialects, from which fuzz_cases.py begins. `{image}`, `{video}` and `{base64}`
stand for files."""

from typing import Any

TOKENS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict")
MOST_TOKENS = 3
TOOL = {
    "name": "get_weather", "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}  # fmt: skip
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
PDF, NOTES = "JVBERi0xLjQK", "U29tZSB3b3Jkcy4="  # the beginning of one, and a text, in base64
TEXT_FILE = {"type": "file", "file": {"file_data": f"data:text/plain;base64,{NOTES}", "filename": "a.txt"}}
PDF_FILE = {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}", "file_id": "f"}}
SOUND = {"type": "input_audio", "input_audio": {"data": NOTES, "format": "wav"}}
DOCUMENT = {
    "type": "document",
    "title": "a",
    "context": "b",
    "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
}
UNKNOWN = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [
    {"type": "web_search_result", "title": "x", "url": "y", "encrypted_content": NOTES}]}  # fmt: skip
BODIES: dict[str, list[dict[str, Any]]] = {
    "/v1/chat/completions": [
        {"model": "demo", "messages": [{"role": "user", "content": "What is 17 + 25?"}], "max_tokens": 3,
        "stream": True,
         "stream_options": {"include_usage": True}, "temperature": 0.5, "top_p": 0.9, "top_k": 20, "min_p": 0.05,
         "seed": 7,
         "presence_penalty": 0.5, "frequency_penalty": -0.5, "repetition_penalty": 1.1, "n": 2, "stop": ["x", "yz"]},
        {"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": [
            {"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "{image}",
            "detail": "low"}},
            {"type": "video_url", "video_url": {"url": "{video}"}}]}], "max_completion_tokens": 2,
         "mm_processor_kwargs": {"num_frames": 4, "max_pixels": 4096}, "logprobs": True, "top_logprobs": 3},
        {"messages": [{"role": "user", "content": "Weather?"}, {"role": "assistant", "content": None,
        "tool_calls": [CALL]},
                      {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}], "max_tokens": 3,
         "tools": [{"type": "function", "function": {**TOOL, "strict": True}}], "tool_choice": "auto",
         "parallel_tool_calls": False, "reasoning_effort": "low", "thinking_budget": 2},
        {"messages": [{"role": "user", "content": "JSON!"}, {"role": "assistant", "content": "{"}], "max_tokens": 3,
         "continue_final_message": True, "chat_template_kwargs": {"enable_thinking": False, "a": [1, {"b": None}]},
         "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
        {"messages": [{"role": "user", "content": "x"}], "guided_regex": "[ab]{3}", "max_tokens": 3,
        "enable_thinking": False,
         "logit_bias": {"5": -100, "7": 3.5}, "metadata": {"a": "b"}, "user": "me", "priority": -3},
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [
            {"id": "c", "type": "custom", "custom": {"name": "code", "input": "1 + 1"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "2"}], "max_tokens": 3, "enable_thinking": False,
         "tools": [{"type": "custom", "custom": {"name": "code", "description": "x", "format": {
             "type": "grammar", "grammar": {"syntax": "regex", "definition": "[ab]{3}"}}}},
             {"type": "function", "function": TOOL}, {"type": "web_search", "max_uses": 1}],
         "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [
             {"type": "custom", "custom": {"name": "code"}}, {"type": "web_search"}]}}},
        {"messages": [{"role": "user", "content": [TEXT_FILE, PDF_FILE, SOUND, {"type": "text", "text": "x"}]},
                      {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "tool_calls": [CALL]},
                      {"role": "tool", "tool_call_id": "call_1", "content": [TEXT_FILE, {"type": "image_url",
                      "image_url": f"data:application/pdf;base64,{PDF}"}]}], "max_tokens": 3},
    ],
    "/v1/completions": [
        {"model": "demo", "prompt": ["Once", "Twice"], "max_tokens": 3, "logprobs": 2, "n": 2, "stop": "."},
        {"prompt": [1, 2, 3], "max_tokens": 2, "stream": True, "echo": False, "guided_json": SCHEMA},
        {"prompt": [[1, 2, 3], [4]], "max_tokens": 0, "logprobs": 1, "echo": True, "temperature": 0, "seed": 1234},
        {"prompt": ["Once", "Twice"], "max_tokens": 1, "logprobs": 0, "echo": True, "stream": True, "n": 2},
    ],
    "/v1/embeddings": [
        {"model": "demo", "input": ["Once", "Twice"], "encoding_format": "base64", "dimensions": 8, "user": "me"},
        {"input": [1, 2, 3], "encoding_format": "float"},
        {"input": [[1, 2, 3], [4]]},
    ],
    "/v1/responses": [
        {"model": "demo", "input": "What is 17 + 25?", "max_output_tokens": 16, "stream": True, "store": False},
        {"model": "demo", "instructions": "Be short.", "max_output_tokens": 16, "temperature": 0.3, "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Hi!"},
                                         {"type": "input_image", "image_url": "{image}"}]}],
         "tools": [{"type": "function", **TOOL}], "reasoning": {"effort": "low"},
         "text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}}},
        {"model": "demo", "max_output_tokens": 16, "client_metadata": {"a": "b"}, "input": [
            {"role": "user", "content": "Weather?", "phase": "commentary"},
            {"type": "function_call", "call_id": "c1", "name": "find", "namespace": "maps", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "here"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "code", "input": "1 + 1"},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "2"}]},
            {"type": "web_search_call", "id": "w", "status": "completed", "action": {"type": "search", "query": "x"}},
            {"type": "mcp_call", "id": "m", "server_label": "a", "name": "b", "arguments": "{}", "output": "x"},
            {"type": "shell_call", "call_id": "s", "action": {"commands": ["ls"]}},
            {"type": "shell_call_output", "call_id": "s", "output": [
                {"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 1}}]},
            {"type": "compaction", "encrypted_content": "x", "summary": "They met."}],
         "tools": [{"type": "namespace", "name": "maps", "description": "x", "tools": [
             {"type": "function", "name": "find", "parameters": TOOL["parameters"], "strict": True},
             {"type": "custom", "name": "draw"}]}, {"type": "web_search", "external_web_access": True},
             {"type": "custom", "name": "code", "format": {"type": "grammar", "syntax": "regex", "definition": "a|b"}}],
         "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [
             {"type": "function", "name": "find", "namespace": "maps"}, {"type": "custom", "name": "code"}]}},
        {"input": [{"role": "user", "content": [
            {"type": "input_file", "filename": "a.txt", "file_data": NOTES}, {"type": "input_file", "file_url": "x"},
            SOUND, {"type": "computer_screenshot", "image_url": "{image}"}, {"type": "input_image", "file_id": "f"}]}],
         "max_output_tokens": 16},
    ],
    "/v1/messages": [
        {"model": "demo", "max_tokens": 3, "system": "Be short.", "messages": [{"role": "user", "content": "Hi!"}],
         "stream": True, "stop_sequences": ["x"], "temperature": 0.5, "metadata": {"user_id": "me"}},
        {"model": "demo", "max_tokens": 3, "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Weather?"}, {"type": "image", "source": {
                "type": "base64", "media_type": "image/png", "data": "{base64}"}}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "get_weather",
            "input": {"city": "x"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}]}],
         "tools": [{"name": "get_weather", "description": "x", "input_schema": TOOL["parameters"]}],
         "tool_choice": {"type": "auto"}, "thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"model": "demo", "max_tokens": 3, "messages": [{"role": "user", "content": "Hi!"}],
         "tools": [{"type": "bash_20250124", "name": "bash", "strict": True},
                   {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}],
         "tool_choice": {"type": "tool", "name": "bash", "disable_parallel_tool_use": True}},
        {"model": "demo", "max_tokens": 3, "system": [{"type": "text", "text": "x"}, UNKNOWN], "messages": [
            {"role": "user", "content": [DOCUMENT, UNKNOWN, {"type": "image", "source": {"type": "file",
            "file_id": "f"}}, {"type": "document", "source": {"type": "content", "content": [UNKNOWN]}}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "", "signature": "x", "cache_control": {"type": "ephemeral"}},
                {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}}, UNKNOWN,
                {"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [DOCUMENT, UNKNOWN,
            {"type": "tool_reference", "tool_name": "f"}]}]}]},
    ],
    "/v1/responses/input_tokens": [{"model": "demo", "input": "Hi!", "instructions": "Be short."}],
    "/v1/messages/count_tokens": [{"model": "demo", "messages": [{"role": "user", "content": "Hi!"}]}],
    "/api/chat": [
        {"model": "demo", "messages": [{"role": "user", "content": "Hi!", "images": ["{base64}"]}],
         "options": {"num_predict": 3, "temperature": 0.5, "top_k": 5, "stop": ["x"]}, "think": False},
        {"model": "demo", "messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function",
        "function": TOOL}],
         "format": SCHEMA, "stream": False, "options": {"num_predict": 3}, "keep_alive": "5m"},
        {"messages": [{"role": "user", "content": [TEXT_FILE, {"type": "text", "text": "x"}], "images": ["{image}",
         f"data:application/pdf;base64,{PDF}"]}, {"role": "assistant", "content": "", "reasoning_content": "y",
         "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}, {"role": "tool", "name": "f", "content": "z"}],
         "options": {"num_predict": 3}},
    ],
    "/api/generate": [{"model": "demo", "prompt": "x", "system": "y", "raw": False, "options": {"num_predict": 3}},
                      {"model": "demo", "keep_alive": 0}],
    "/api/embed": [
        {"model": "demo", "input": ["Once", "Twice"], "truncate": True, "dimensions": 8, "options": {"num_ctx": 9},
         "keep_alive": "5m"},
        {"input": "Once"},
    ],
    "/api/embeddings": [{"model": "demo", "prompt": "Once", "options": {"num_ctx": 9}, "keep_alive": 60}],
    "/api/show": [{"model": "demo", "verbose": True}],
    "/apply-template": [{"model": "demo", "messages": [{"role": "user", "content": "Hi!"}], "tools": [
        {"type": "function", "function": TOOL}], "chat_template_kwargs": {"enable_thinking": False}}],
    "/tokenize": [{"model": "demo", "prompt": "Hello!", "add_special_tokens": False, "return_token_strs": True},
                  {"messages": [{"role": "user", "content": "Hi!"}]}],
    "/detokenize": [{"model": "demo", "tokens": [1, 2, 3]}],
}  # fmt: skip
