"""guidellm measures the server by three of its addresses, one request at a time and several."""

import json
from collections.abc import Iterator

import pytest

from clients.conftest import Scripted, serving
from clients.programs import Place, python

SUMS = {f"What is {left} + 25?": f"{left} + 25 = {left + 25}" for left in range(11, 19)}


@pytest.fixture(scope="module")
def server() -> Iterator[Scripted]:
    with serving(lambda messages, tools: None, 1024) as started:
        yield started


@pytest.mark.parametrize("profile", ["kind=synchronous", "kind=concurrent,streams=4"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/completions"])
def test_measures(place: Place, server: Scripted, path: str, profile: str) -> None:
    server.recorder.clear()
    (place.work / "sums.jsonl").write_text("".join(json.dumps({"prompt": sum}) + "\n" for sum in SUMS))
    place.run(
        python("guidellm"), "-m", "guidellm", "run", "--disable-console-interactive",
        "--backend", f"kind=openai_http,target={server.url},model=demo,request_format={path}", "--profile", profile,
        "--constraint", f"kind=max_requests,count={len(SUMS)}", "--data", "kind=json_file,path=sums.jsonl",
        "--output", "kind=json,path=measured.json",
    )  # fmt: skip
    measured = json.loads((place.work / "measured.json").read_text())["benchmarks"][0]
    assert measured["metrics"]["request_totals"]["successful"] == len(SUMS)
    assert measured["metrics"]["request_totals"]["errored"] == 0
    answered = [request for request in measured["requests"]["successful"] if request["output_tokens"]]
    assert len(answered) == len(SUMS)
    assert all(request["prompt_tokens"] and request["time_to_first_token_ms"] > 0 for request in answered)
    if path != "/v1/completions":  # sums are conversations to the model
        assert {request["output"] for request in answered} == set(SUMS.values())
    assert {exchange.status for exchange in server.asked(path)} == {200}
