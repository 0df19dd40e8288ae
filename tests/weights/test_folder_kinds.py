"""What people give as a model's folder, and files that are not what their names say: one line each, with the mend."""

import json
import os
import struct
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from checkpoints import edit_json, edit_text_config, save_hf, tiny_config, write_shards
from gguf_checkpoints import save_gguf
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import save_file

from qwill.convert.quantize import plan_model, plan_vision
from qwill.errors import CheckpointError, QwillError, UserError
from qwill.llm import LLM
from qwill.quant.recipes import load_recipe
from qwill.weights.foreign import foreign_content
from qwill.weights.load import open_checkpoint

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1746882752\n"
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"
XML = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'
PICKLE = b"\x80\x02}q\x00(X\x12\x00\x00\x00"


def refused(path: Path, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        open_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (POINTER, "is a Git LFS pointer, not the file itself; run `git lfs pull`"),
        (PAGE, "is a web page"),
        (XML, "page"),
    ],
)
def test_what_was_saved_in_place_of_a_file(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    save_hf(tmp_path, tiny_config(), tokenizer=True)
    (tmp_path / name).write_bytes(content)
    refused(tmp_path, str(tmp_path / name), words)


def test_the_same_of_other_files(tmp_path: Path) -> None:
    made = save_hf(tmp_path, tiny_config(), shards=2)
    for name in ("generation_config.json", "model.safetensors.index.json"):
        before = (tmp_path / name).read_bytes() if (tmp_path / name).exists() else None
        (tmp_path / name).write_bytes(POINTER)
        refused(tmp_path, name, "Git LFS pointer")
        (tmp_path / name).write_bytes(before or b"{}")
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(POINTER)
    refused(tmp_path, "model-00002-of-00002.safetensors", "Git LFS pointer")
    for content, words in ((POINTER, "Git LFS pointer"), (PAGE, "web page"), (b"PK\x03\x04\x14\0\x08\x08", "a pickle")):
        (tmp_path / "x.gguf").write_bytes(content)
        refused(tmp_path / "x.gguf", "x.gguf", words)
    save_file(made.state, tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").write_bytes(PICKLE)
    refused(tmp_path, "model.safetensors", "is a pickle or an archive")
    (tmp_path / "config.json").write_bytes(b"Entry not found\n")
    refused(tmp_path, "holds an error message of a server (Entry not found)")
    (tmp_path / "config.json").write_bytes(b'{"error":"Repository not found"}')
    refused(tmp_path, "holds an error message of a server")


@given(st.binary(max_size=40) | st.binary(max_size=20).map(lambda tail: b"Entry not found" + tail))
@example(b"Entry not found\x1b[2J\xff")
def test_any_beginning_is_described_in_one_line(head: bytes) -> None:
    what = foreign_content(head)
    assert what is None or what.isprintable()


@pytest.mark.parametrize("length", [2, 32, 640, 1152, 0x04034B50 % 10_000_000])
def test_no_header_of_safetensors_is_taken_for_something_else(length: int) -> None:
    assert foreign_content(struct.pack("<Q", length) + b'{"__metadata__":{}}') is None


def test_an_adapter_given_as_a_model(tmp_path: Path) -> None:
    edit_json(tmp_path / "adapter_config.json", peft_type="LORA", base_model_name_or_path="Qwen/Qwen3.5-0.8B")
    save_file({"x": torch.ones(1)}, tmp_path / "adapter_model.safetensors")
    words = (f"{tmp_path}: is a LoRA adapter, not a model", "Qwen/Qwen3.5-0.8B", f"--lora {tmp_path}")
    refused(tmp_path, *words)
    refused(tmp_path / "adapter_model.safetensors", *words)
    edit_json(tmp_path / "adapter_config.json", base_model_name_or_path="a\nb")
    refused(tmp_path, "trained on and --lora")
    tiny_config().save_pretrained(tmp_path)  # some trainers save it beside the adapter
    refused(tmp_path, words[0])
    (tmp_path / "adapter_config.json").unlink()
    refused(tmp_path, "adapter_model.safetensors: is a LoRA adapter, and there is no model beside it")


def gguf_file(path: Path, architecture: str = "qwen35") -> None:
    writer = gguf.GGUFWriter(path, architecture)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


@pytest.mark.parametrize("with_config", [False, True])
def test_a_folder_of_gguf_files(with_config: bool, tmp_path: Path) -> None:
    """Named are those that may be models, not what lies beside them."""
    if with_config:
        tiny_config().save_pretrained(tmp_path)
    for name in ("mmproj-X-F16.gguf", "X.imatrix.gguf", "mtp-X.gguf", "X-Q8_0-00002-of-00002.gguf"):
        gguf_file(tmp_path / name)
    gguf_file(tmp_path / "X-Q8_0-00001-of-00002.gguf")
    refused(tmp_path, f"give the file instead: {tmp_path / 'X-Q8_0-00001-of-00002.gguf'}")
    gguf_file(tmp_path / "X-Q4_K_M.gguf")
    refused(tmp_path, f"give one of its files instead: {tmp_path / 'X-Q4_K_M.gguf'} (X-Q8_0-00001-of-00002.gguf)")


def test_gguf_files_in_any_case_and_below(tmp_path: Path) -> None:
    """Repositories keep large files in a folder for each quantization, LM Studio each model in one below its
    publisher's; a vision file above them is no model."""
    (tmp_path / "Q8_0").mkdir()
    gguf_file(tmp_path / "mmproj-F16.gguf")
    gguf_file(tmp_path / "Q8_0" / "X-Q8_0-00001-of-00002.gguf")
    gguf_file(tmp_path / "Q8_0" / "X-Q8_0-00002-of-00002.gguf")
    refused(tmp_path, f"give the file instead: {tmp_path / 'Q8_0' / 'X-Q8_0-00001-of-00002.gguf'}")
    gguf_file(tmp_path / "X.Q4_K_M.GGUF")
    refused(tmp_path, f"give the file instead: {tmp_path / 'X.Q4_K_M.GGUF'}")


@pytest.mark.parametrize("with_config", [False, True])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("model.safetensors.incomplete", "model.safetensors.incomplete is the beginning of a file"),
        ("model-00001-of-00002.safetensors.part", "is the beginning of a file; let its download finish"),
        ("Unconfirmed.gguf.crdownload", "is the beginning of a file"),
        (".cache/huggingface/download/a8f.incomplete", ".cache/huggingface/download has the beginning of a file"),
    ],
)
def test_half_downloaded_folders(name: str, words: str, with_config: bool, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    if with_config:
        tiny_config().save_pretrained(tmp_path)
    refused(tmp_path, str(tmp_path), words.partition(";")[0], "let its download finish")


@pytest.mark.parametrize("name", ["model.safetensors", "X-Q8_0.gguf"])
@pytest.mark.needs("links")
def test_links_to_nothing(name: str, tmp_path: Path) -> None:
    """As a cache has them whose large files were removed."""
    (tmp_path / name).symlink_to(tmp_path / "blobs" / "abc")
    tiny_config().save_pretrained(tmp_path)
    refused(tmp_path, str(tmp_path), f"{name} is a link to a file that is not there")
    refused(tmp_path / name, f"{tmp_path / name}: is a link to a file that is not there")


def test_states_of_trainers_are_no_model(tmp_path: Path) -> None:
    tiny_config().save_pretrained(tmp_path)
    for name in ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state_0.pth"):
        (tmp_path / name).write_bytes(b"x")
    refused(tmp_path, "only what a trainer kept (optimizer.pt)")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    refused(tmp_path, "pytorch_model.bin is a pickle")


def test_of_several_checkpoints_the_last_is_named(tmp_path: Path) -> None:
    for number in (500, 1000, 90):
        (tmp_path / f"checkpoint-{number}").mkdir()
        (tmp_path / f"checkpoint-{number}" / "config.json").write_text("{}")
        os.utime(tmp_path / f"checkpoint-{number}" / "config.json", (1, 1))
        os.utime(tmp_path / f"checkpoint-{number}", (1, 1))
    refused(tmp_path, f"give the folder below it that has one: {tmp_path / 'checkpoint-1000'}")


def test_a_store_of_ollama(tmp_path: Path) -> None:
    for name in ("blobs", "manifests"):
        (tmp_path / name).mkdir()
    refused(tmp_path, "is a store of Ollama's; name a model of it, as ollama:qwen3.5:4b")


def test_files_of_a_folder_given_by_themselves(tmp_path: Path) -> None:
    save_hf(tmp_path, tiny_config(), tokenizer=True)
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        refused(tmp_path / name, f"{tmp_path / name}: give the folder that holds it", str(tmp_path))


def test_a_folder_with_both_is_read(tmp_path: Path) -> None:
    made = save_hf(tmp_path, tiny_config())
    save_gguf(tmp_path / "it.gguf", made)
    assert open_checkpoint(tmp_path).format == "hf"
    assert open_checkpoint(tmp_path / "it.gguf").format == "gguf"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, ["for it is empty"]),
        ({"model_index.json": {"_class_name": "QwenImagePipeline"}}, ["pipeline of diffusers (QwenImagePipeline)"]),
        ({"config.json": {"_class_name": "UNet2D"}}, ["part of a pipeline of diffusers ('UNet2D')"]),
        (
            {"modules.json": {}, "0_Transformer/config.json": {}},
            ["is a model of sentence-transformers", "0_Transformer"],
        ),
        ({"params.json": {}, "consolidated.00.pth": {}}, ["has params.json in place of config.json"]),
        ({"tokenizer.json": {}, "tokenizer_config.json": {}}, ["has a tokenizer, but no config.json and no weights"]),
        ({"model.safetensors": {}, "tokenizer.json": {}}, ["has weights but no config.json"]),
        ({"checkpoint-500/config.json": {}, "trainer_state.json": {}}, ["is it a model's folder?", "checkpoint-500"]),
        ({"snapshots/abc/config.json": {}, "refs/main": {}}, ["give the folder below it", "snapshots/abc"]),
        ({"readme.md": {}}, ["no config.json; is it a model's folder?"]),
    ],
)
def test_folders_of_other_kinds(files: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "it"
    folder.mkdir()
    for name, value in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(value))
    refused(folder, str(folder), *words)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pytorch_model.bin", "is a pickle, which can hold any program; convert it to model.safetensors"),
        ("consolidated.00.pth", "is a pickle"),
        ("model.pt", "is a pickle"),
        ("model.onnx", "is a model for ONNX Runtime; take a release in safetensors or GGUF"),
        ("openvino_model.bin", "is a model for OpenVINO"),
        ("rank0.engine", "TensorRT-LLM"),
        ("tf_model.h5", "TensorFlow"),
    ],
)
def test_weights_in_other_formats(name: str, words: str, tmp_path: Path) -> None:
    tiny_config().save_pretrained(tmp_path)
    (tmp_path / name).write_bytes(b"x")
    refused(tmp_path, name, words)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("global_step500", "zero_to_fp32.py"),
        ("pytorch_model_fsdp_0", "accelerate merge-weights"),
        ("0.distcp", "torch's"),
    ],
)
def test_weights_in_the_parts_of_trainers(name: str, words: str, tmp_path: Path) -> None:
    tiny_config().save_pretrained(tmp_path)
    (tmp_path / name).mkdir()
    (tmp_path / "training_args.bin").write_bytes(b"x")
    refused(tmp_path, f"{tmp_path}: {name} holds the weights in ", words)


def test_consolidated_safetensors_in_released_names_are_read(tmp_path: Path) -> None:
    made = save_hf(tmp_path, tiny_config())
    (tmp_path / "model.safetensors").rename(tmp_path / "consolidated.safetensors")
    assert len(open_checkpoint(tmp_path).tensors) == len(made.state)
    save_file({"layers.0.attention.wq.weight": torch.ones(4, 4)}, tmp_path / "consolidated.safetensors")
    refused(tmp_path, "consolidated.safetensors: tensor layers.0.attention.wq.weight belongs to no part")


@pytest.mark.parametrize("vision", [False, True])
def test_a_table_that_the_configuration_does_not_count(vision: bool, tmp_path: Path) -> None:
    """Running, describing and quantizing agree; with the number put right they all do it."""
    made = save_hf(tmp_path / "hf", tiny_config(vision=vision), tokenizer=True)
    for count in (287, 300, None):
        edit_text_config(made.folder, vocab_size=count)
        for use in (open_checkpoint, lambda path: plan_model(path, load_recipe("Q8_0")), lambda path: LLM(str(path))):
            with pytest.raises(
                CheckpointError, match=rf"has 288 rows, config\.json says vocab_size {count}; write 288"
            ):
                use(made.folder)
    edit_text_config(made.folder, vocab_size=288)
    assert plan_model(made.folder, load_recipe("Q8_0")).tensors
    assert LLM(str(made.folder), max_context=64).config.text.vocab_size == 288


def test_a_tokenizer_with_more_tokens_than_rows(tmp_path: Path) -> None:
    made = save_hf(tmp_path / "hf", tiny_config(), tokenizer=True)
    tokenizer = made.folder / "tokenizer.json"
    before = json.loads(tokenizer.read_text())
    edit_json(tokenizer, added_tokens=[*before["added_tokens"], {"id": 290, "content": "<mine>", "special": True}])
    for use in (lambda path: plan_model(path, load_recipe("Q8_0")), lambda path: LLM(str(path))):
        with pytest.raises(CheckpointError, match=r"of at most 288 tokens, .*\('<mine>' is number 290\)"):
            use(made.folder)
    edit_json(tokenizer, **(before | {"model": before["model"] | {"type": "WordPiece"}}))
    for use in (lambda path: plan_model(path, load_recipe("Q8_0")), lambda path: LLM(str(path))):
        with pytest.raises(CheckpointError, match="WordPiece"):
            use(made.folder)


def test_nothing_is_made_of_a_folder_that_does_not_run(tmp_path: Path) -> None:
    """A missing or misshapen tensor, and one layer too many, are found before a byte is written."""
    made = save_hf(tmp_path / "hf", tiny_config(moe=True), mtp=True, packed=False)
    name = "model.layers.3.self_attn.o_proj.weight"
    for changed, words in (
        ({name: None}, r"tensor layers\.3\.self_attn\.o_proj\.weight is missing"),
        ({name: torch.ones(64, 64)}, r"has shape \[64, 64\], the configuration says \[64, 128\]"),
        ({name.replace("3", "4"): torch.ones(64, 128)}, r"is of no layer that the configuration counts"),
        ({"mtp.layers.0.self_attn.q_proj.weight": None}, r"tensor mtp\.layers\.0.* is missing"),
    ):
        state = {key: value for key, value in (made.state | changed).items() if value is not None}
        write_shards(made.folder, state, 1)
        with pytest.raises(CheckpointError, match=words):
            plan_model(made.folder, load_recipe("Q8_0"))
        if "mtp" in words:
            assert plan_model(made.folder, load_recipe("Q8_0"), draft_head=False).tensors


def test_no_vision_file_is_made_of_half_a_tower(tmp_path: Path) -> None:
    made = save_hf(tmp_path / "hf", tiny_config(vision=True))
    name = "model.visual.blocks.1.attn.qkv.bias"
    for changed, words in (
        ({name: None}, r"tensor visual\.blocks\.1\.attn\.qkv\.bias is missing"),
        ({name: torch.ones(3)}, r"has shape \[3\], the configuration says \[96\]"),
        ({name.replace("1", "2"): torch.ones(96)}, r"is of no layer that the configuration counts"),
    ):
        state = {key: value for key, value in (made.state | changed).items() if value is not None}
        write_shards(made.folder, state, 1)
        with pytest.raises(CheckpointError, match=words):
            plan_vision(made.folder)


def test_a_draft_head_that_the_configuration_does_not_count(tmp_path: Path) -> None:
    made = save_hf(tmp_path / "hf", tiny_config(vision=True), mtp=True, tokenizer=True)
    for value in (0, None):
        edit_text_config(made.folder, mtp_num_hidden_layers=value)
        assert open_checkpoint(made.folder).config["text_config"]["mtp_num_hidden_layers"] == 1
        metadata = plan_model(made.folder, load_recipe("Q8_0")).metadata
        assert metadata["qwen35.nextn_predict_layers"] == 1


@given(
    name=st.sampled_from(["config.json", "adapter_config.json", "model_index.json", "hf_quant_config.json"]),
    content=st.binary(max_size=30) | st.sampled_from([b"{}", b'{"model_type": "qwen3_5"}', b'{"_class_name": 3}']),
)
def test_any_small_file_is_read_or_refused(name: str, content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    if name == "hf_quant_config.json":
        tiny_config().save_pretrained(folder)
    (folder / name).write_bytes(content)
    with pytest.raises(QwillError) as caught:
        open_checkpoint(folder)
    assert "\n" not in str(caught.value)
