"""What is looked at before a download: made-up repositories with the headers of real files."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from checkpoints import TinyCheckpoint, save_hf, tiny_config
from gguf_checkpoints import save_gguf
from hub_server import Hub

from qwill.errors import CheckpointError, ModelNotFound, QwillError, UnsupportedModel
from qwill.weights.hub import look as looking
from qwill.weights.hub.cache import resolve_model
from qwill.weights.hub.download import download, plan_download
from qwill.weights.hub.look import look
from qwill.weights.naming.models import hub_model

pytest_plugins = ("hub_fixture",)

DEMO = resolve_model("demo").read_bytes()
HEADER = 100_000  # bytes, more than the demonstration model's header has
UNKNOWN_TYPE = 144  # IQ5_KS of ik_llama.cpp


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    return save_hf(tmp_path_factory.mktemp("dense"), tiny_config())


@pytest.fixture
def hub(hub_here: Hub) -> Hub:
    return hub_here


def plan(name: str) -> Any:
    return look(plan_download(hub_model(name)))


def with_type(data: bytes, tensor: str, kind: int) -> bytes:
    """A GGUF file in which a tensor says that it has another type."""
    name = struct.pack("<Q", len(tensor)) + tensor.encode()
    place = data.index(name) + len(name)
    (dimensions,) = struct.unpack_from("<I", data, place)
    place += 4 + 8 * dimensions
    return data[:place] + struct.pack("<I", kind) + data[place + 4 :]


def of_other_architecture(data: bytes) -> bytes:
    return data.replace(b"qwen35", b"llama9")


def test_a_sound_model_is_let_through_by_its_header_alone(hub: Hub) -> None:
    hub.repositories["o/m-GGUF"] = {"m-Q8_0.gguf": DEMO, "mmproj-F16.gguf": b"not looked at"}
    looked = plan("o/m-GGUF")
    assert [file.name for file in looked.files] == ["m-Q8_0.gguf", "mmproj-F16.gguf"]
    assert hub.ranges == [f"m-Q8_0.gguf 0-{len(DEMO) - 1}"]


def test_no_more_than_the_header_is_asked_for(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories["o/m-GGUF"] = {"m-Q8_0.gguf": DEMO}
    monkeypatch.setattr(looking, "_FIRST_BYTES", HEADER)
    plan("o/m-GGUF")
    assert hub.ranges == [f"m-Q8_0.gguf 0-{HEADER - 1}"]
    hub.ranges.clear()
    monkeypatch.setattr(looking, "_FIRST_BYTES", 10_000)
    plan("o/m-GGUF")
    assert hub.ranges == [f"m-Q8_0.gguf 0-{length - 1}" for length in (10_000, 40_000, 160_000)]


def test_what_is_on_the_disk_is_not_looked_at_again(hub: Hub) -> None:
    hub.repositories["o/m-GGUF"] = {"m-Q8_0.gguf": DEMO}
    download(plan("o/m-GGUF"), progress=False)
    hub.requests.clear()
    plan("o/m-GGUF")
    assert hub.requests == ["GET /api/models/o/m-GGUF"]


def test_a_type_of_another_engine_is_refused_with_the_file_that_runs(
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    foreign = with_type(DEMO, "blk.1.attn_qkv.weight", UNKNOWN_TYPE)
    hub.repositories["o/m-GGUF"] = {"m-IQ5_KS.gguf": foreign, "m-Q4_0.gguf": foreign, "m-Q8_0.gguf": DEMO}
    with pytest.raises(UnsupportedModel) as caught:
        plan("o/m-GGUF:IQ5_KS")
    assert str(caught.value).startswith("o/m-GGUF/m-IQ5_KS.gguf: ")
    assert "blk.1.attn_qkv.weight" in str(caught.value)
    assert str(caught.value).endswith("; of that repository this can be run: qwill pull o/m-GGUF:Q8_0")
    del hub.repositories["o/m-GGUF"]["m-Q8_0.gguf"]
    with pytest.raises(UnsupportedModel, match=r"blk\.1\.attn_qkv\.weight") as caught:
        plan("o/m-GGUF:IQ5_KS")
    assert "can be run" not in str(caught.value)


def test_another_architecture(hub: Hub) -> None:
    hub.repositories["o/llama-GGUF"] = {"llama-Q8_0.gguf": of_other_architecture(DEMO)}
    with pytest.raises(UnsupportedModel, match=r"^o/llama-GGUF/llama-Q8_0\.gguf: .*'llama9moe'"):
        plan("o/llama-GGUF")


def test_a_file_that_is_none(hub: Hub) -> None:
    hub.repositories["o/m-GGUF"] = {"m-Q8_0.gguf": b"<html>" * 1000}
    with pytest.raises(CheckpointError, match=r"^o/m-GGUF/m-Q8_0\.gguf: "):
        plan("o/m-GGUF")


def test_all_parts_of_a_split_file(hub: Hub, tmp_path: Path, dense: TinyCheckpoint) -> None:
    (tmp_path / "made").mkdir()
    save_gguf(tmp_path / "made" / "m.gguf", dense, shard_tensors=20)
    parts = {f"Q8_0/{path.name}": path.read_bytes() for path in sorted((tmp_path / "made").iterdir())}
    assert len(parts) > 1
    hub.repositories["o/m-GGUF"] = parts
    plan("o/m-GGUF")
    assert len(hub.ranges) == len(parts)
    last = list(parts)[-1]
    name = next(name for name in ("output_norm.weight", "token_embd.weight") if name.encode() in parts[last])
    parts[last] = with_type(parts[last], name, UNKNOWN_TYPE)
    with pytest.raises(UnsupportedModel, match=f"^o/m-GGUF/{Path(last).name}: .*{name}"):
        plan("o/m-GGUF")


def test_a_draft_head_comes_along_where_the_model_has_none(
    hub: Hub,
    tmp_path: Path,
    dense: TinyCheckpoint,
) -> None:
    save_gguf(tmp_path / "m.gguf", dense)
    hub.repositories["o/m-GGUF"] = {
        "m-Q8_0.gguf": (tmp_path / "m.gguf").read_bytes(), "mtp-m-Q8_0.gguf": b"head", "mtp-other.gguf": b"",
    }  # fmt: skip
    assert [file.name for file in plan("o/m-GGUF").files] == ["m-Q8_0.gguf", "mtp-m-Q8_0.gguf"]
    hub.repositories["o/m-GGUF"]["m-Q8_0.gguf"] = DEMO  # which has one
    assert [file.name for file in plan("o/m-GGUF").files] == ["m-Q8_0.gguf"]


def test_a_hub_without_ranges_is_not_looked_at(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    hub.repositories["o/m-GGUF"] = {"m-Q8_0.gguf": of_other_architecture(DEMO) + bytes(20 << 20)}
    hub.no_ranges = True
    plan("o/m-GGUF")
    assert "not looked at before the download" in caplog.text


def folder(**config: object) -> dict[str, bytes]:
    described = {"model_type": "qwen3_5", "text_config": {}} | config
    return {"config.json": json.dumps(described).encode(), "model.safetensors": bytes(1000)}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (folder(model_type="qwen4_exp"), r"^o/m: model_type 'qwen4_exp' is not supported"),
        (folder(quantization_config={"quant_method": "unheard-of"}), r"^o/m: .*'unheard-of'.* not supported"),
        (
            folder(quantization_config={"quant_method": "fp8", "weight_block_size": [64, 64]}),
            r"^o/m: FP8 e4m3 with blocks \[64, 64\] is not supported",
        ),
        (
            folder(quantization_config={"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}),
            "'marlin' is not supported",
        ),
    ],
)
def test_a_folder_that_cannot_be_run(hub: Hub, files: dict[str, bytes], says: str) -> None:
    hub.repositories["o/m"] = files
    with pytest.raises(UnsupportedModel, match=says):
        plan("o/m")
    assert not [request for request in hub.requests if request.startswith("GET") and "safetensors" in request]
    files["m-Q4_0.gguf"] = DEMO
    with pytest.raises(UnsupportedModel, match=r"; of that repository this can be run: qwill pull o/m:Q4_0$"):
        plan("o/m")
    with pytest.raises(ModelNotFound, match="qwill pull o/m"):  # the look leaves no model behind
        resolve_model("o/m")


def test_a_folder_that_can(hub: Hub) -> None:
    mlx = {"group_size": 64, "bits": 4, "mode": "affine"}
    fp8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    configs: list[dict[str, object]] = [
        {}, {"quantization_config": fp8}, {"quantization": mlx, "quantization_config": mlx},
    ]  # fmt: skip
    for number, config in enumerate(configs):
        hub.repositories["o/m"] = folder(**config)
        hub.commit = str(number) * 40
        assert [file.name for file in plan("o/m").files] == ["model.safetensors", "config.json"]


def test_weights_without_a_configuration(hub: Hub) -> None:
    hub.repositories["o/m"] = {"model.safetensors": bytes(1000)}
    with pytest.raises(ModelNotFound, match=r"o/m has weights without config\.json"):
        plan("o/m")


def test_adapters(hub: Hub) -> None:
    files = {"adapter_config.json": b'{"peft_type": "LORA", "lora_alpha": 8}', "adapter_model.safetensors": bytes(1000)}
    hub.repositories["o/lora"] = files
    assert download(plan("o/lora"), progress=False) == resolve_model("o/lora")
    hub.repositories["o/other"] = files | {"adapter_config.json": b'{"peft_type": "IA3"}'}
    with pytest.raises(UnsupportedModel, match=r"o/other/adapter_config\.json: is an adapter of type IA3"):
        plan("o/other")


def test_a_hub_that_fails_meanwhile(hub: Hub) -> None:
    hub.repositories["o/m-GGUF"] = {"m-Q8_0.gguf": DEMO}
    ready = plan_download(hub_model("o/m-GGUF"))
    hub.failing_files = 503
    with pytest.raises(QwillError, match="the hub answered 503"):
        look(ready)
