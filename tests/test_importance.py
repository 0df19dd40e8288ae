"""Gathering importance: against hooks on transformers' modules, and what does and does not depend on how it is done."""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import TinyCheckpoint, save_hf, text_config, tiny_config
from gguf_checkpoints import save_gguf
from PIL import Image

from qwill import LLM
from qwill.errors import CheckpointError, InvalidArgument, MediaError, ModelNotFound, PromptTooLong
from qwill.importance import Observer, gather, observed
from qwill.ops import reference_operations
from qwill.passages import read_passages
from qwill.quant.importance import Importance, Statistics
from qwill.weights.names import gguf_name, place_hf

LAYERS = 4
# Both compute in float32; four layers and the recurrence grow its rounding to about 1e-5 of a hidden state (see
# model/harness.py), squares double that.
CLOSE = {"rtol": 1e-3, "atol": 1e-6}


class Hooks:
    """Sums of squares of what transformers' linear modules get, by canonical name; experts' by themselves."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.sums: dict[str, np.ndarray] = {}
        self.counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(1))
        for name, module in model.named_modules():
            if name.endswith("mlp.experts"):
                module.register_forward_hook(self._experts(canonical(f"{name}.gate_up_proj")))
            elif isinstance(module, torch.nn.Linear) or name.endswith("mlp.gate"):
                module.register_forward_pre_hook(self._linear(canonical(f"{name}.weight")))

    def _linear(self, name: str) -> Callable[..., None]:
        def look(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            x = inputs[0].double().flatten(0, -2).numpy()
            self.sums[name] = self.sums.get(name, 0) + (x**2).sum(0)[None]
            self.counts[name] += len(x)

        return look

    def _experts(self, name: str) -> Callable[..., None]:
        stem = name.removesuffix("gate_up_proj")

        def look(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], _output: object) -> None:
            x, chosen = inputs[0], inputs[1]
            number, width = module.down_proj.shape[0], module.down_proj.shape[2]
            into, product = np.zeros((number, x.shape[1])), np.zeros((number, width))
            for token, experts in enumerate(chosen.tolist()):
                for expert in experts:
                    gate, up = (module.gate_up_proj[expert] @ x[token]).split(width)
                    into[expert] += x[token].double().numpy() ** 2
                    product[expert] += (torch.nn.functional.silu(gate) * up).double().numpy() ** 2
            counts = np.bincount(chosen.flatten().numpy(), minlength=number)
            for part, sums in (("gate_proj", into), ("up_proj", into), ("down_proj", product)):
                self.sums[stem + part], self.counts[stem + part] = sums, counts

        return look


def canonical(name: str) -> str:
    place = place_hf(name)
    assert place is not None, name
    return place.name


@pytest.fixture
def token_ids() -> list[int]:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    return np.random.default_rng(seed).integers(0, 256, 67).tolist()


def gathered(path: Path, token_ids: list[int], *, reference: bool = False, **options: object) -> Importance:
    """What one passage brings."""
    if reference:
        observer = Observer(reference_operations())
        llm = LLM(str(path), operations=observer.operations, kv="f32", max_context=96, **options)
    else:
        llm, observer = observed(str(path), threads=2, max_context=96, **options)
    return gather(llm, observer, [llm.answer(token_ids).request], 32)


def tiled(sums: np.ndarray, config: object) -> np.ndarray:
    """Columns of V heads, grouped by their k heads, in the order of GGUF files: written element by element."""
    keys, values, width = config.linear_num_key_heads, config.linear_num_value_heads, config.linear_value_head_dim
    result = np.empty_like(sums)
    for head in range(values):
        key, rank = divmod(head, values // keys)
        place = rank * keys + key
        result[:, place * width : (place + 1) * width] = sums[:, head * width : (head + 1) * width]
    return result


@torch.no_grad()
def expected(made: TinyCheckpoint, token_ids: list[int]) -> dict[str, Statistics]:
    """By GGUF name, the text model's; the head of a vision-language model hangs beside its parts."""
    hooks = Hooks(made.model)
    made.model(input_ids=torch.tensor([token_ids]))
    result = {}
    for name, sums in hooks.sums.items():
        if name.endswith("shared_expert_gate.weight"):  # one row, never quantized
            continue
        if name.endswith("linear_attn.out_proj.weight"):
            sums = tiled(sums, text_config(made.config))
        result[gguf_name(name, LAYERS)] = Statistics(sums, hooks.counts[name])
    return result


def assert_same(got: Importance, wanted: dict[str, Statistics]) -> None:
    assert got.statistics.keys() == wanted.keys()
    for name, own in got.statistics.items():
        np.testing.assert_array_equal(own.counts, wanted[name].counts, err_msg=name)
        np.testing.assert_allclose(own.sums, wanted[name].sums, err_msg=name, **CLOSE)
        assert own.sums.dtype == own.counts.dtype == np.float32


@pytest.mark.parametrize("moe", [False, True])
@pytest.mark.parametrize("reference", [False, True])
def test_equals_hooks_on_transformers(moe: bool, reference: bool, token_ids: list[int], tmp_path: Path) -> None:
    made = save_hf(tmp_path, tiny_config(moe), seed=token_ids[0], tokenizer=True)
    got = gathered(tmp_path, token_ids, reference=reference)
    assert_same(got, expected(made, token_ids))
    assert (got.chunk_count, got.chunk_size) == (2, 32)


def test_pieces_do_not_matter(token_ids: list[int], tmp_path: Path) -> None:
    save_hf(tmp_path, tiny_config(moe=True), seed=token_ids[0], mtp=True)
    whole = gathered(tmp_path, token_ids)
    pieces = gathered(tmp_path, token_ids, step_tokens=16)
    assert_same(pieces, dict(whole.statistics))


def test_a_gguf_file_and_its_folder_have_the_same(token_ids: list[int], tmp_path: Path) -> None:
    made = save_hf(tmp_path / "hf", tiny_config(moe=True, linear_num_value_heads=6), seed=token_ids[0], mtp=True)
    save_gguf(tmp_path / "model.gguf", made)
    assert_same(gathered(tmp_path / "model.gguf", token_ids), dict(gathered(tmp_path / "hf", token_ids).statistics))


def test_observing_changes_nothing_of_what_is_computed(token_ids: list[int], tmp_path: Path) -> None:
    save_hf(tmp_path, tiny_config(moe=True), seed=token_ids[0])
    plain = LLM(str(tmp_path), threads=2, kv="f32", max_context=96)
    seen, _ = observed(str(tmp_path), threads=2, max_context=96)
    wanted, got = (np.concatenate(list(each.engine.read(each.answer(token_ids).request))) for each in (plain, seen))
    # The parts of the fused kernels are the same kernels, but sums of experts may be added in another order.
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())
    seen.engine.scheduler.check_integrity()


def test_the_draft_head(token_ids: list[int], tmp_path: Path) -> None:
    """Its first matrix sees norms of embeddings and states, computed here; its others see one token less than the
    text model's, whose output matrix is not counted twice.
    """
    made = save_hf(tmp_path, tiny_config(), seed=token_ids[0], mtp=True)
    found = gathered(tmp_path, token_ids).statistics
    with torch.no_grad():
        hidden = made.model.model(input_ids=torch.tensor([token_ids])).last_hidden_state[0, :-1]
        embedded = made.model.model.embed_tokens(torch.tensor(token_ids[1:]))
        both = []
        for x, name in ((embedded, "embedding"), (hidden, "hidden")):
            scale = 1 + made.state[f"mtp.pre_fc_norm_{name}.weight"]
            both.append(x * torch.rsqrt((x**2).mean(-1, keepdim=True) + made.config.rms_norm_eps) * scale)
        sums = (torch.cat(both, dim=1).double() ** 2).sum(0).numpy()[None]
    np.testing.assert_allclose(found["blk.4.nextn.eh_proj.weight"].sums, sums, **CLOSE)
    own = {name.removeprefix("blk.4.") for name in found if name.startswith("blk.4.")}
    assert own == {"nextn.eh_proj.weight", *(f"attn_{part}.weight" for part in ("q", "k", "v", "output"))} | {
        f"ffn_{part}.weight" for part in ("gate", "up", "down")
    }
    assert {found[f"blk.4.{name}"].counts[0] for name in own} == {len(token_ids) - 1}
    assert found["output.weight"].counts[0] == len(token_ids)


def test_a_tied_head_is_the_embedding(token_ids: list[int], tmp_path: Path) -> None:
    made = save_hf(tmp_path, tiny_config(tie_word_embeddings=True), seed=token_ids[0])
    found = gathered(tmp_path, token_ids).statistics
    with torch.no_grad():
        hidden = made.model.model(input_ids=torch.tensor([token_ids])).last_hidden_state[0].double().numpy()
    assert "output.weight" not in found
    np.testing.assert_allclose(found["token_embd.weight"].sums, (hidden**2).sum(0)[None], **CLOSE)


def test_every_token_goes_to_as_many_experts(token_ids: list[int], tmp_path: Path) -> None:
    save_hf(tmp_path, tiny_config(moe=True, num_experts=16, num_experts_per_tok=3), seed=token_ids[0])
    found = gathered(tmp_path, token_ids[:5]).statistics  # fewer than there are experts
    for layer in range(LAYERS):
        counts = found[f"blk.{layer}.ffn_down_exps.weight"].counts
        assert counts.sum() == 3 * 5
        assert (counts == 0).any()
        assert not found[f"blk.{layer}.ffn_down_exps.weight"].sums[counts == 0].any()


def test_pictures_reach_the_tower(token_ids: list[int], tmp_path: Path) -> None:
    made = save_hf(tmp_path, tiny_config(vision=True), seed=token_ids[0], tokenizer=True)
    noise = np.random.default_rng(token_ids[0]).integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    llm, observer = observed(str(tmp_path), threads=2, max_context=512)
    (request,) = read_passages(llm, [], 32, [tmp_path / "noise.png"])
    (rows,) = request.prompt.media
    found = gather(llm, observer, [request], 32).statistics

    hooks = Hooks(made.model)
    with torch.no_grad():
        pixels = torch.from_numpy(np.array(rows.patches.pixels))
        made.model.model.visual(pixels, torch.tensor([rows.patches.grid]))
    names = {gguf_name(name, LAYERS): name for name in hooks.sums if name.startswith("visual.")}
    assert {f"v.blk.{block}.{part}.weight" for block in range(2) for part in ("attn_qkv", "attn_out")} <= names.keys()
    assert names.keys() == {name for name in found if name.startswith(("v.", "mm."))}
    for gguf, name in names.items():
        assert found[gguf].counts[0] == hooks.counts[name]
        np.testing.assert_allclose(found[gguf].sums, hooks.sums[name], err_msg=gguf, **CLOSE)
    assert found["blk.0.attn_qkv.weight"].counts[0] == request.length


def test_a_damaged_model_is_named(token_ids: list[int], tmp_path: Path) -> None:
    made = save_hf(tmp_path / "hf", tiny_config(), seed=1)
    for name, tensor in made.state.items():
        if name.endswith("layers.0.input_layernorm.weight"):
            tensor.fill_(3e38)
    save_gguf(tmp_path / "model.gguf", made)
    with np.errstate(all="ignore"), pytest.raises(CheckpointError, match=r"layers\.0\..* not finite.* damaged"):
        gathered(tmp_path / "model.gguf", token_ids)


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    folder = tmp_path_factory.mktemp("passages")
    save_hf(folder, tiny_config(vision=True), tokenizer=True)
    return LLM(str(folder), threads=1, max_context=300)


def test_texts_are_cut(llm: LLM, tmp_path: Path) -> None:
    assert llm.tokenizer is not None
    text = "Zwölf Boxkämpfer jagen <|im_start|> Viktor quer.\r\n" * 9 + "Ende"
    (tmp_path / "long.txt").write_bytes(text.encode())
    (tmp_path / "short.txt").write_text("as it is")
    ids = llm.tokenizer.encode(text)
    assert llm.tokenizer.added_tokens["<|im_start|>"] not in ids
    long, short = tmp_path / "long.txt", tmp_path / "short.txt"
    found = [request.prompt.token_ids for request in read_passages(llm, [long, short], 50)]
    whole = len(ids) // 50
    assert len(ids) % 50
    assert found[:whole] == [ids[50 * number : 50 * (number + 1)] for number in range(whole)]
    assert found[whole:] == [llm.tokenizer.encode("as it is")]  # the end of the long one is left out
    assert len(read_passages(llm, [long, short], 50, most=2)) == 2


def test_conversations(llm: LLM, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    picture = {"type": "image_url", "image_url": {"url": f"file://{tmp_path / 'red.png'}"}}
    lines = [
        '[{"role": "user", "content": "the"}]',
        "",
        '{"messages": [{"role": "user", "content": "and"}, {"role": "assistant", "content": "in the end"}]}',
        str({"messages": [{"role": "user", "content": [picture, {"type": "text", "text": "?"}]}]}).replace("'", '"'),
    ]
    (tmp_path / "chats.jsonl").write_text("\n".join(lines))
    found = read_passages(llm, [tmp_path / "chats.jsonl"], 4)
    assert llm.tokenizer is not None
    texts = [llm.tokenizer.decode(request.prompt.token_ids, skip_special=False) for request in found]
    assert len(texts) == 3
    assert texts[0].startswith("<|im_start|>user\nthe<|im_end|>\n<|im_start|>assistant\n")
    assert texts[1].endswith("in the end")
    assert [len(request.prompt.media) for request in found] == [0, 0, 1]


@pytest.mark.parametrize(
    ("name", "contents", "error", "says"),
    [
        ("a.txt", None, InvalidArgument, "a.txt: No such file"),
        ("a.txt", b"", InvalidArgument, "a.txt: has no text"),
        ("a.txt", b"\xff\xfe", InvalidArgument, "a.txt: is not UTF-8"),
        ("a.jsonl", b"{", InvalidArgument, "a.jsonl, line 1: is no JSON"),
        ("a.jsonl", b'\n{"prompt": "x"}', InvalidArgument, "a.jsonl, line 2: is neither"),
        ("a.jsonl", b'{"messages": [3]}', InvalidArgument, "a.jsonl, line 1: is neither"),
        ("a.jsonl", b'{"messages": [], "tools": 1}', InvalidArgument, '"tools" is no list'),
        ("a.jsonl", b"\n\n", InvalidArgument, "nothing to read"),
        ("a.jsonl", b'[{"role": "user", "content": "' + b"long " * 300 + b'"}]', PromptTooLong, "a.jsonl, line 1: "),
        (
            "a.jsonl",
            b'[{"role": "user", "content": [{"type": "image", "image": "/nowhere.png"}]}]',
            MediaError,
            "line 1: .*/nowhere.png",
        ),
    ],
)
def test_bad_texts(
    llm: LLM, tmp_path: Path, name: str, contents: bytes | None, error: type[Exception], says: str
) -> None:
    if contents is not None:
        (tmp_path / name).write_bytes(contents)
    with pytest.raises(error, match=says):
        read_passages(llm, [tmp_path / name], 32)


def test_no_such_model() -> None:
    with pytest.raises(ModelNotFound):
        observed("/nowhere.gguf")
