"""The server does what its OpenAPI document says: made-up requests, right and wrong ones, for every route."""

import json
import random
from typing import Any

import pytest
import schemathesis
from benchmarks.fuzz_bodies import BODIES
from benchmarks.fuzz_cases import filled
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from server.asking import send
from server.guards import application
from server.running import Running

POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
CASES = [
    (path, method, mode)
    for path, methods in application().api.openapi()["paths"].items()
    for method, operation in methods.items()
    for mode in ((POSITIVE, NEGATIVE) if "requestBody" in operation else (POSITIVE,))
]
CHECKS: list[Any] = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance,
]  # fmt: skip
TOKENS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict")
EXAMPLES = 10


@pytest.fixture(scope="module")
def described(server: Running) -> Any:
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


def shortened(body: Any, takes: set[str]) -> Any:
    """The body with a model that there is and few tokens to write, where it is not something else altogether."""
    if not isinstance(body, dict):
        return body
    short = dict(body)
    if isinstance(short.get("model"), str):
        short["model"] = "demo"
    for name in TOKENS:
        if name in takes and (name not in short or short[name] is None or isinstance(short[name], int)):
            short[name] = 2
    if "options" in takes and isinstance(short.get("options", {}), dict | None):
        short["options"] = {**(short.get("options") or {}), "num_predict": 2}
    return short


def fields(operation: Any) -> set[str]:
    """Names of the body's fields."""
    content = operation.definition.raw.get("requestBody", {}).get("content", {})
    (schema,) = [entry["schema"] for entry in content.values()] or [{}]
    if "$ref" in schema:
        schema = operation.schema.raw_schema["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return set(schema.get("properties", {}))


@pytest.mark.parametrize(("path", "method", "mode"), CASES)
def test_routes_do_what_is_documented(described: Any, path: str, method: str, mode: GenerationMode) -> None:
    operation = described[path][method.upper()]
    takes = fields(operation)
    seen: set[int] = set()

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case) -> None:
        case.body = shortened(case.body, takes)
        seen.add(case.call_and_validate(checks=CHECKS, timeout=60).status_code)

    check()
    assert seen


@pytest.mark.parametrize(("path", "body"), [(path, body) for path, bodies in BODIES.items() for body in bodies])
def test_good_answers_are_as_documented(described: Any, path: str, body: dict[str, Any]) -> None:
    whole = json.loads(filled(random.Random(1), body, damaged=False))
    case = described[path]["POST"].Case(body=whole, media_type="application/json")
    assert case.call_and_validate(checks=CHECKS, timeout=60).status_code == 200


def test_the_document(server: Running) -> None:
    document = send("GET", f"{server.url}/openapi.json").json()
    assert document["info"]["title"] == "qwill"
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation.get("description"), path
            assert operation.get("tags"), path
            assert {"200", "400", "401", "403", "404", "413", "429", "503"} <= operation["responses"].keys(), path
            assert "422" not in operation["responses"], path
    text = json.dumps(document)
    for name in document["components"]["schemas"]:
        assert f"#/components/schemas/{name}" in text, f"nothing refers to {name}"
