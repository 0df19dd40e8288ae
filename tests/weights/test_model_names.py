"""Names of models as people type and paste them: aliases, released names, repositories, links."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwill.errors import ModelNotFound
from qwill.fit.family import members
from qwill.weights.naming.models import (
    NOT_RELEASED_IN_FP8,
    RELEASES,
    HubModel,
    aliases,
    family_member,
    hub_model,
    named_member,
    short_name,
)

UNSLOTH = "unsloth/Qwen3.5-4B-GGUF"
HUB = "https://huggingface.co"


@pytest.mark.parametrize(
    ("name", "repository", "quant"),
    [
        ("qwen3.5:397b", "Qwen/Qwen3.5-397B-A17B", None),
        ("qwen3.5:0.8b", "Qwen/Qwen3.5-0.8B", None),
        ("qwen3.5:4b:latest", "Qwen/Qwen3.5-4B", None),
        ("qwen3.5:0.8b-q4_k_m", "unsloth/Qwen3.5-0.8B-GGUF", "Q4_K_M"),
        ("QWEN3.5:35B-A3B-UD-q4_k_xl", "unsloth/Qwen3.5-35B-A3B-GGUF", "UD-Q4_K_XL"),
        ("qwen3.5:122b-mxfp4_moe", "unsloth/Qwen3.5-122B-A10B-GGUF", "MXFP4_MOE"),
        ("qwen3.5:35b-fp8", "Qwen/Qwen3.5-35B-A3B-FP8", None),
        ("qwen3.5:9b-bf16", "Qwen/Qwen3.5-9B", None),
        ("qwen3.6:35b-a3b", "Qwen/Qwen3.6-35B-A3B", None),
        ("qwen3.6:27b-q4_K_M", "unsloth/Qwen3.6-27B-GGUF", "Q4_K_M"),
        ("qwen3.8:27b", "Qwen/Qwen3.8-27B", None),
        ("qwen3.8:27b-fp8", "Qwen/Qwen3.8-27B-FP8", None),
        ("qwen3.8:2.4t-a95b-ud-iq2_xxs", "unsloth/Qwen3.8-2.4T-A95B-GGUF", "UD-IQ2_XXS"),
        ("Qwen3.5-4B", "Qwen/Qwen3.5-4B", None),
        ("qwen3.5-4b", "Qwen/Qwen3.5-4B", None),
        ("Qwen3.6-27B", "Qwen/Qwen3.6-27B", None),
        ("qwen/qwen3.5-4b", "Qwen/Qwen3.5-4B", None),
        ("Qwen/Qwen3.5-27B-FP8", "Qwen/Qwen3.5-27B-FP8", None),
        ("Qwen3.5-27B-FP8", "Qwen/Qwen3.5-27B-FP8", None),
        ("Qwen3.5-4B-Base", "Qwen/Qwen3.5-4B-Base", None),
        ("qwen3.5-27b-gptq-int4", "Qwen/Qwen3.5-27B-GPTQ-Int4", None),
        ("Qwen3.5-4B-GGUF", UNSLOTH, None),
        ("Qwen3.5-4B-GGUF:Q4_K_M", UNSLOTH, "Q4_K_M"),
        ("Qwen3.5-4B:q8_0", UNSLOTH, "Q8_0"),
        ("Qwen3.5-4B-Q4_K_M", UNSLOTH, "Q4_K_M"),
        ("unsloth/Qwen3.5-397B-A17B-GGUF:MXFP4_MOE", "unsloth/Qwen3.5-397B-A17B-GGUF", "MXFP4_MOE"),
        ("bartowski/Qwen_Qwen3.5-4B-GGUF:q4_k_m", "bartowski/Qwen_Qwen3.5-4B-GGUF", "Q4_K_M"),
        ("lmstudio-community/Qwen3.5-4B-GGUF@q4_k_m", "lmstudio-community/Qwen3.5-4B-GGUF", "Q4_K_M"),
        ("some-one/my.model_1", "some-one/my.model_1", None),
        ("Qwen/Qwen3.8-Flash-Next", "Qwen/Qwen3.8-Flash-Next", None),
    ],
)
def test_what_names_stand_for(name: str, repository: str, quant: str | None) -> None:
    assert hub_model(name) == HubModel(name, repository, quant)


@pytest.mark.parametrize(
    ("pasted", "name", "path", "revision"),
    [
        (f"hf.co/{UNSLOTH}", UNSLOTH, None, None),
        (f"hf.co/{UNSLOTH}:latest", UNSLOTH, None, None),
        (f"hf.co/{UNSLOTH}:Q4_K_M", f"{UNSLOTH}:Q4_K_M", None, None),
        (f"HuggingFace.co/{UNSLOTH}/", UNSLOTH, None, None),
        (f"{HUB}/{UNSLOTH}", UNSLOTH, None, None),
        (f"  '{HUB}/{UNSLOTH}/' ", UNSLOTH, None, None),
        (f"<http://www.huggingface.co/{UNSLOTH}>", UNSLOTH, None, None),
        (f"https://hf-mirror.com/{UNSLOTH}", UNSLOTH, None, None),
        (f"{HUB}/api/models/{UNSLOTH}", UNSLOTH, None, None),
        (f"{HUB}/{UNSLOTH}/tree/main", UNSLOTH, None, None),
        (f"{HUB}/{UNSLOTH}/tree/main?library=llama-cpp-python#files", UNSLOTH, None, None),
        (f"{HUB}/{UNSLOTH}/discussions/3", UNSLOTH, None, None),
        (f"{HUB}/{UNSLOTH}/blob/main/config.json", UNSLOTH, None, None),
        (f"{HUB}/{UNSLOTH}/blob/main/m-Q4_K_M.gguf", f"{UNSLOTH}/m-Q4_K_M.gguf", "m-Q4_K_M.gguf", None),
        (f"{HUB}/{UNSLOTH}/resolve/main/m.gguf?download=true", f"{UNSLOTH}/m.gguf", "m.gguf", None),
        (f"{HUB}/{UNSLOTH}/resolve/v1.2/a%20b/m.gguf", f"{UNSLOTH}/a b/m.gguf@v1.2", "a b/m.gguf", "v1.2"),
        (f"{HUB}/{UNSLOTH}/tree/refs%2Fpr%2F1", f"{UNSLOTH}@refs/pr/1", None, "refs/pr/1"),
        (f"{HUB}/{UNSLOTH}/blob/refs/pr/12/m.gguf", f"{UNSLOTH}/m.gguf@refs/pr/12", "m.gguf", "refs/pr/12"),
        (f"{HUB}/{UNSLOTH}/commit/0123abc", f"{UNSLOTH}@0123abc", None, "0123abc"),
        (f"{HUB}/{UNSLOTH}?show_file_info=m-Q8_0.gguf", f"{UNSLOTH}/m-Q8_0.gguf", "m-Q8_0.gguf", None),
        (f"hf.co/{UNSLOTH}:m-Q8_0.gguf", f"{UNSLOTH}/m-Q8_0.gguf", "m-Q8_0.gguf", None),
        (f"{HUB}/{UNSLOTH}:Q4_K_M", f"{UNSLOTH}:Q4_K_M", None, None),
        (f"{HUB}//{UNSLOTH}.git", UNSLOTH, None, None),
        (f"git@hf.co:{UNSLOTH}.git", UNSLOTH, None, None),
        (f"[the model]({HUB}/{UNSLOTH})", UNSLOTH, None, None),
        (f"({HUB}/{UNSLOTH}).".lstrip("("), UNSLOTH, None, None),
        (f"ollama run hf.co/{UNSLOTH}:Q4_K_M", f"{UNSLOTH}:Q4_K_M", None, None),
        (f"hf download {UNSLOTH} m-Q8_0.gguf", f"{UNSLOTH}/m-Q8_0.gguf", "m-Q8_0.gguf", None),
        (f"llama-server -hf {UNSLOTH}:Q4_K_M", f"{UNSLOTH}:Q4_K_M", None, None),
        (f"git clone {HUB}/{UNSLOTH}", UNSLOTH, None, None),
        (f"hf://{UNSLOTH}/sub/m.gguf", f"{UNSLOTH}/sub/m.gguf", "sub/m.gguf", None),
        (f"{UNSLOTH}/m.gguf", f"{UNSLOTH}/m.gguf", "m.gguf", None),
        (f"{UNSLOTH}:m-Q4_K_M.gguf", f"{UNSLOTH}:m-Q4_K_M.gguf", "m-Q4_K_M.gguf", None),
        ("o/m/sub/X-00001-of-00003.gguf", "o/m/sub/X-00001-of-00003.gguf", "sub/X-00001-of-00003.gguf", None),
        ("o/m/model.safetensors", "o/m/model.safetensors", "model.safetensors", None),
        ("o/m@main", "o/m@main", None, None),
        ("o/m@v2", "o/m@v2", None, "v2"),
        ("o/m:Q8_0@v2", "o/m:Q8_0@v2", None, "v2"),
        ("o/m/x.gguf@v2", "o/m/x.gguf@v2", "x.gguf", "v2"),
        (f"{HUB}/o/m/tree/main/BF16", "hf.co/o/m/tree/main/BF16", "BF16", None),
    ],
)
def test_what_is_pasted(pasted: str, name: str, path: str | None, revision: str | None) -> None:
    model = hub_model(pasted)
    assert (model.name, model.path, model.revision) == (name, path, revision)
    assert model.repository == "/".join(name.removeprefix("hf.co/").split("/")[:2]).partition(":")[0].partition("@")[0]
    # what messages call it means the same again
    again = hub_model(model.name)
    assert (again.repository, again.quant, again.path) == (model.repository, model.quant, model.path)
    assert again.revision == model.revision


def test_the_host_of_ones_own_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example:8443")
    assert hub_model("https://hub.example:8443/o/m/blob/main/x.gguf").path == "x.gguf"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("qwen3.5:3b", r"qwen3\.5:3b: no such member.*qwen3\.5:397b.*qwen3\.5:0\.8b"),
        ("qwen3.5", "no such member"),
        ("qwen3.8:latest", "no such member"),
        ("qwen3.5:0.8b-", "no such member"),
        ("qwen3.5:4b-a3b", "no such member"),
        ("qwen3.6:4b", "no such member"),
        ("Qwen3.8-Flash-Next", "no such member"),
        ("qwen3.5:0.8b-fp8", r"not released in FP8.*qwen3\.5:0\.8b-q8_0"),
        ("Qwen3.5-4B-abliterated", r"no such release.*org/Qwen3\.5-4B-abliterated"),
        ("Qwen3.5-4B.i1-Q4_K_M.gguf", r"no such file; from the hub: qwill pull qwen3\.5:4b-q4_k_m$"),
        ("https://modelscope.cn/models/Qwen/Qwen3.5-4B/files", r"ModelScope; take Qwen/Qwen3\.5-4B if .*--local_dir"),
        ("modelscope://Qwen/Qwen3.5-4B", r"ModelScope; take Qwen/Qwen3\.5-4B if"),
        ("https://ollama.com/library/qwen3.5:4b", r"Ollama's library; .*ollama:qwen3\.5:4b; "),
        (f"{HUB}/datasets/o/d", "is no model's page"),
        (f"{HUB}/models?search=qwen", "names no repository"),
        (f"{HUB}/", "names no repository"),
        ("https://example.com/x.gguf", "no link to a model of the hub; download it"),
        ("https://[broken", "no link to a model"),
        ("llama", "llama: no such file, folder or model"),
        ("a/b/c", "a/b/c: no such file or folder"),
        ("o/m@../../other", "no such file or folder"),
        ("o/m@/etc", "no such file or folder"),
        (f"{HUB}/o/m/tree/..%2F..%2Fother", "names no file or revision that can be"),
        ("a\\b.gguf", "no such file or folder"),
    ],
)
def test_names_that_stand_for_nothing(name: str, says: str) -> None:
    with pytest.raises(ModelNotFound, match=says):
        hub_model(name)


def test_every_member_has_its_alias() -> None:
    assert tuple(RELEASES.values()) == members()
    assert [hub_model(alias).repository for alias in aliases()] == [f"Qwen/{name}" for name in members()]
    assert set(NOT_RELEASED_IN_FP8) < set(RELEASES)


@pytest.mark.parametrize("alias", RELEASES)
def test_a_member_by_all_its_names(alias: str) -> None:
    release = RELEASES[alias]
    assert family_member(alias) == (release, "")
    assert family_member(f"{alias.upper()}-ud-q4_k_xl") == (release, "UD-Q4_K_XL")
    for name in (release, release.lower(), f"Qwen/{release}", f"{HUB}/Qwen/{release}", f"org/{release}-abliterated"):
        assert family_member(name) == (release, "")
    assert family_member(f"{alias}-bf16") == (release, "BF16")
    assert family_member(f"Qwen/{release}-FP8") == (release, "FP8")
    for publisher in (f"bartowski/Qwen_{release}-GGUF", f"unsloth/{release}-GGUF", f"x/{release}-i1-GGUF"):
        assert family_member(publisher) == (release, "")
        assert family_member(f"hf.co/{publisher}:i1-Q4_K_M") == (release, "Q4_K_M")
        assert family_member(f"{publisher}/{release}.i1-IQ4_XS.gguf") == (release, "IQ4_XS")
    for other in (f"{release}-", f"{alias}x", "", "llama", "org/Qwen3.5-7B"):
        with pytest.raises(ModelNotFound, match="no such member"):
            family_member(other)


@pytest.mark.parametrize(
    ("text", "member"),
    [
        ("Huihui-Qwen3.5-35B-A3B-abliterated", "Qwen3.5-35B-A3B"),
        ("Qwen_Qwen3.6-27B-GGUF", "Qwen3.6-27B"),
        ("Qwen3.8 27B", "Qwen3.8-27B"),
        ("models--unsloth--Qwen3.8-2.4T-A95B-GGUF", "Qwen3.8-2.4T-A95B"),
        ("qwen35-4b", None),
        ("Qwen3.5-4.7B", None),
        ("Qwen3.5-40B", None),
        ("Qwen3-4B", None),
    ],
)
def test_members_in_other_names(text: str, member: str | None) -> None:
    assert named_member(text) == member


@pytest.mark.parametrize(
    ("name", "short"),
    [
        (f"{HUB}/{UNSLOTH}/resolve/main/Qwen3.5-4B-Q4_K_M.gguf?download=true", "Qwen3.5-4B-Q4_K_M"),
        ("o/m/Q8_0/X-00001-of-00003.gguf", "X"),
        (f"hf.co/{UNSLOTH}:Q4_K_M", f"{UNSLOTH}:Q4_K_M"),
        ("qwen3.5:4b", "qwen3.5:4b"),
        (f"{HUB}/Qwen/Qwen3.5-4B/", "Qwen/Qwen3.5-4B"),
        ("nothing", "nothing"),
    ],
)
def test_short_names(name: str, short: str) -> None:
    assert short_name(name) == short


@pytest.mark.parametrize(
    "path",
    [
        r"C:\models\Qwen3.5-4B.gguf", "C:/models/Qwen3.5-4B", "C:/models/x.gguf", "d:/Qwen/Qwen3.5-4B", "C://models/x",
        r"C:x.gguf", "C:x", "C:", r"\\host\share\Qwen3.5-4B", r"~\models\Qwen3.5-4B", r"models\Qwen3.5-4B",
        r".\qwen3.5-4b.gguf", r"\\?\C:\models\x.gguf", '"C:\\models\\"', r"C:\hf.co\org\name", "C:/org/name:Q4_K_M",
    ],
)  # fmt: skip
def test_paths_of_windows_are_no_names_of_the_hub(path: str) -> None:
    """As text: a path that is there is taken before anybody asks what its name means."""
    with pytest.raises(ModelNotFound, match="no such file"):
        hub_model(path)


PIECES = st.sampled_from(
    ["hf.co/", "https://", "huggingface.co/", "org/", "repo", "/blob/main/", "/tree/", "x.gguf", ":", "@", "Q4_K_M",
     "?", "qwen3.5:", "4b", "Qwen3.5-", "-FP8", "GGUF", "-", "[", "%2F", "%ff", "#", " ", "\"", "..", "ms://", "\0",
     "](", "git@hf.co:", ".git", "C:", "\\"]
)  # fmt: skip


@given(
    st.text(max_size=40)
    | st.from_regex(r"qwen3\.5:[0-9.a-z_-]{0,20}", fullmatch=True)
    | st.lists(PIECES, max_size=9).map("".join)
)
def test_no_name_brings_another_error(name: str) -> None:
    assert isinstance(short_name(name), str)
    try:
        model = hub_model(name)
    except ModelNotFound:
        return
    assert model.repository.count("/") == 1
    assert hub_model(model.name).repository == model.repository
