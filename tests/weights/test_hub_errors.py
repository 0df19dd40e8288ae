"""What the hub refuses, and what keeps it from answering: each in one line that says what to do."""

import pytest
from hub_server import Hub
from huggingface_hub import constants

from qwill.errors import ModelNotFound, QwillError, UserError
from qwill.weights.hub.download import download, plan_download
from qwill.weights.naming.models import HubModel, hub_model

pytest_plugins = ("hub_fixture",)

FOLDER = {"config.json": b"{}", "model.safetensors": bytes(1_000)}


@pytest.fixture
def hub(hub_here: Hub) -> Hub:
    hub_here.repositories = {"o/folder": dict(FOLDER), "o/m-GGUF": {"m-Q8_0.gguf": b"8", "m-Q4_K_M.gguf": b"4"}}
    return hub_here


def test_a_repository_that_is_not_there(hub: Hub) -> None:
    with pytest.raises(ModelNotFound, match="the hub has no repository o/nothing"):
        plan_download(hub_model("o/nothing"))
    with pytest.raises(ModelNotFound, match="the hub has no repository"):
        plan_download(HubModel("a--b/c", "a--b/c"))  # a name that the hub does not allow


def test_a_quantization_that_is_not_there(hub: Hub) -> None:
    with pytest.raises(ModelNotFound, match=r"no Q2_K; it has Q4_K_M, Q8_0"):
        plan_download(hub_model("o/m-GGUF:Q2_K"))


def test_a_gated_repository(hub: Hub) -> None:
    hub.gated.add("o/folder")
    plan = plan_download(hub_model("o/folder"))
    with pytest.raises(UserError, match=r"is gated: accept its terms at https://huggingface\.co/o/folder"):
        download(plan, progress=False)


@pytest.mark.parametrize(
    ("status", "headers", "kind", "says"),
    [
        (401, {}, ModelNotFound, r"no repository o/folder, or it is private; for a private one: hf auth login$"),
        (
            401,
            {"X-Error-Message": "Invalid credentials in Authorization header"},
            UserError,
            r"the hub does not accept the token of this machine \(401\): hf auth login$",
        ),
        (403, {}, UserError, r"the hub does not allow it \(403\); give a token that may read it: hf auth login$"),
        (403, {"X-Error-Code": "GatedRepo"}, UserError, "is gated: accept its terms at"),
        (403, {"X-Error-Message": "Access to this resource is disabled."}, ModelNotFound, "closed this repository"),
        (404, {}, ModelNotFound, r"\(404\)"),
        (418, {}, QwillError, "the hub answered 418"),
        (429, {"Retry-After": "37"}, QwillError, r"too many requests of this address \(429\); try again in 37 seconds"),
        (429, {"RateLimit": '"api";r=0;t=55'}, QwillError, "try again in 55 seconds, or hf auth login"),
        (429, {}, QwillError, "try again in a few minutes"),
        (500, {}, QwillError, r"the hub answered 500, it has trouble of its own; .* qwill pull o/folder$"),
        (503, {}, QwillError, "the hub answered 503"),
    ],
)
def test_what_the_hub_answers(
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    headers: dict[str, str],
    kind: type[QwillError],
    says: str,
) -> None:
    hub.failing, hub.headers = status, headers
    if "Invalid" in str(headers):
        monkeypatch.setenv("HF_TOKEN", "hf_expired")
    with pytest.raises(kind, match=says) as caught:
        plan_download(hub_model("o/folder"))
    assert str(caught.value).startswith("o/folder")
    assert "\n" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "says"), [(403, r"does not allow it \(403\)"), (404, "changed while"), (502, "the hub answered 502")]
)
def test_what_it_answers_to_a_request_for_a_file(hub: Hub, status: int, says: str) -> None:
    plan = plan_download(hub_model("o/folder"))
    hub.failing_files = status
    hub.headers = {"X-Error-Code": "EntryNotFound"} if status == 404 else {}
    with pytest.raises(QwillError, match=says):
        download(plan, progress=False)


def test_no_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # the discard port: nobody listens
    with pytest.raises(QwillError, match="cannot be reached"):
        plan_download(hub_model("o/folder"))


def test_offline_mode(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE"):
        plan_download(hub_model("o/folder"))
