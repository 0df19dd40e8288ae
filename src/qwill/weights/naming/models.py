"""What a model's name stands for on the hub: aliases, released names, repositories, and links as people paste them."""

import os
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from qwill.errors import ModelNotFound
from qwill.weights.naming.files import part_of, quantization_in, quantization_of

DEMO = "demo"

# Alias -> released name, the largest first, of one size the newest first.
RELEASES = {
    "qwen3.8:2.4t": "Qwen3.8-2.4T-A95B",
    "qwen3.5:397b": "Qwen3.5-397B-A17B",
    "qwen3.5:122b": "Qwen3.5-122B-A10B",
    "qwen3.6:35b": "Qwen3.6-35B-A3B",
    "qwen3.5:35b": "Qwen3.5-35B-A3B",
    "qwen3.8:27b": "Qwen3.8-27B",
    "qwen3.6:27b": "Qwen3.6-27B",
    "qwen3.5:27b": "Qwen3.5-27B",
    "qwen3.5:9b": "Qwen3.5-9B",
    "qwen3.5:4b": "Qwen3.5-4B",
    "qwen3.5:2b": "Qwen3.5-2B",
    "qwen3.5:0.8b": "Qwen3.5-0.8B",
}
NOT_RELEASED_IN_FP8 = ("qwen3.5:9b", "qwen3.5:4b", "qwen3.5:2b", "qwen3.5:0.8b")
# Repositories by the kind of file wanted; {} is the released name.
BF16_REPOSITORY, FP8_REPOSITORY, GGUF_REPOSITORY = "Qwen/{}", "Qwen/{}-FP8", "unsloth/{}-GGUF"
PUBLISHER = "qwen"
OTHER_RELEASES = {"base": "Base", "gptq-int4": "GPTQ-Int4"}  # endings of released names, beside FP8

HUB_HOSTS = ("huggingface.co", "hf.co", "hf-mirror.com")
FILE_ENDINGS = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".json", ".jinja", ".md", ".txt", ".dat")
_MODEL_ENDINGS = (".gguf", ".safetensors")

_MEMBER = re.compile(r"qwen[-_ ]?(3\.\d+)([:_ -])(\d+(?:\.\d+)?[bt])(-a\d+b)?(?![a-z0-9])", re.IGNORECASE | re.ASCII)
_ENDING = re.compile(r"[-:_ ]([\w.:-]*\w)", re.ASCII)
_IN_NAME = re.compile(r"qwen[-_ ]?(3\.\d+)[-_: ](\d+(?:\.\d+)?[bt])(?![a-z0-9])", re.IGNORECASE | re.ASCII)
_FAMILY = re.compile(r"qwen[-_ ]?3\.[5-9]\b", re.IGNORECASE)
_REPOSITORY = re.compile(
    r"(?P<repository>\w[\w.-]*/\w[\w.-]*)(?P<path>(?:/[^/:@?#]+)*)(?::(?P<tag>[\w.-]+))?(?:@(?P<revision>(?!.*\.\.)\w[\w./-]*))?",
    re.ASCII,
)
_TAG = re.compile(r"[\w.-]+", re.ASCII)
_SCHEME = re.compile(r"(?P<scheme>[a-z][a-z+.-]+)://", re.IGNORECASE)  # a single letter is a drive
_DRIVE = re.compile(r"[a-z]:", re.IGNORECASE)
_QUOTES = "\"'`“”‘’«»<> \t\r\n"
_MARKDOWN = re.compile(r"\[[^]]*\]\((.+)\)")
# Commands of other programs, as model pages show them; `hf download` has the file as a word of its own.
_COMMAND = re.compile(
    r"(?:ollama (?:run|pull)|(?:hf|huggingface-cli) download|llama-(?:cli|server) -hf|vllm serve|lms get|git clone)\s+"
    r"(\S+)(?:\s+([^-\s]\S*\.gguf))?",
    re.IGNORECASE,
)
_SSH = re.compile(r"(?:ssh://)?git@(hf\.co|huggingface\.co)[:/]", re.IGNORECASE)


@dataclass(frozen=True)
class HubModel:
    """A model on the hub. `name` is what commands call it.

    quant: the tag in a GGUF file's name, in capitals; None: the repository's default. path: a file or folder of the
    repository that was named. revision: a branch, tag or commit; None: the newest of the main branch.
    """

    name: str
    repository: str
    quant: str | None = None
    path: str | None = None
    revision: str | None = None


def hub_model(name: str) -> HubModel:
    """What a name stands for: an alias such as `qwen3.5:4b-q4_k_m`, a released name, `org/name` with `/FILE.gguf`,
    `:QUANT` or `@REVISION`, or a link to one of them. Raises ModelNotFound when it is none of these.
    """
    text = cleaned(name)
    _refuse_other_hosts(text)
    link = _link_path(text)
    if link is not None:
        return _linked(name, *link)
    if found := _member(text):
        return _of_member(text, *found)
    match = _REPOSITORY.fullmatch(text)
    path = match["path"].lstrip("/") if match else ""
    last = path or (match["repository"] if match and not match["tag"] else "")  # org/name:FILE.gguf is as good
    if match and last.lower().endswith(_MODEL_ENDINGS) == bool(path):
        return _of_repository(text, match["repository"], path or None, match["tag"], match["revision"])
    raise _nothing(text)


def cleaned(name: str) -> str:
    """A name without what is pasted around it: blanks, quotes, a command, a slash or comma at the end."""
    text = name.strip(_QUOTES)
    if match := _MARKDOWN.fullmatch(text):
        text = match[1]
    if match := _COMMAND.fullmatch(text):
        text = f"{match[1]}/{match[2]}" if match[2] else match[1]
    text = _SSH.sub(r"\1/", text)
    return text.rstrip("/.,;)").removesuffix(".git") or text


def family_member(name: str) -> tuple[str, str]:
    """The member of the family that a name stands for, by its released name, and the quantization named, else "".

    Of a repository its own name tells, whoever published it. Raises ModelNotFound when it is no member's.
    """
    text = cleaned(name)
    if found := _member(text):
        member, ending = found
        if ending.lower() not in ("", "latest", *OTHER_RELEASES):
            return member, plain_quantization(re.sub(r"^GGUF[-:]?", "", ending.upper()))
        return member, ""
    try:
        model = hub_model(name)
    except ModelNotFound as error:
        raise (error if "/" in text else no_member(text)) from error
    repository = model.repository.partition("/")[2]
    file = model.path or ""
    released = named_member(part_of(file).stem) or named_member(repository)
    if released is None:
        raise no_member(text)
    ending = "FP8" if repository.upper().endswith("-FP8") else ""
    return released, plain_quantization(model.quant or quantization_of(file) or ending)


def named_member(text: str) -> str | None:
    """The member of the family whose name is in a text, such as a repository's, a file's or a folder's name."""
    found = [RELEASES.get(f"qwen{version}:{size.lower()}") for version, size in _IN_NAME.findall(text)]
    return next((release for release in found if release is not None), None)


def plain_quantization(quant: str) -> str:
    """A quantization without what says how its importance was gathered: I1-Q4_K_M and Q4_K_M-IMAT are Q4_K_M."""
    return re.sub(r"^I1-|-IMAT(RIX)?$", "", quant.upper())


def short_name(name: str) -> str:
    """What a model is called where there is no room for a link: the file's name if one was named, else as commands
    call it. Never raises."""
    try:
        model = hub_model(name)
    except ModelNotFound:
        return cleaned(name) or name
    file = PurePosixPath(model.path or "")
    return part_of(file.name).stem if file.suffix.lower() in _MODEL_ENDINGS else model.name


def aliases() -> list[str]:
    """The aliases of the family, the largest member first."""
    return list(RELEASES)


def alias_of(release: str) -> str:
    """The alias of a released name."""
    return next(alias for alias, released in RELEASES.items() if released == release)


def no_member(name: str) -> ModelNotFound:
    return ModelNotFound(f"{name}: no such member of the family; there are {', '.join(aliases())}")


def _member(text: str) -> tuple[str, str] | None:
    """A member's released name and what follows it, for an alias or a released name without or with its publisher.

    Raises ModelNotFound for a name like these of no member.
    """
    publisher, slash, name = text.rpartition("/")
    file = name.lower().endswith(_MODEL_ENDINGS)
    if file or (slash and publisher.lower() != PUBLISHER):
        return None
    match = _MEMBER.match(name)
    release = RELEASES.get(f"qwen{match[1]}:{match[3].lower()}") if match else None
    rest = name[match.end() :] if match else ""
    if slash:  # a repository that is there whatever is known of it here; but its name may be in another case
        return (release, rest[1:]) if release and _is_release(rest[1:]) else None
    if match is None or release is None or not release.lower().endswith((match[4] or "").lower()):
        if match or _FAMILY.match(name):
            raise no_member(text)
        return None
    ending = _ENDING.fullmatch(rest)
    if rest and ending is None:
        raise no_member(text)
    if ending and ":" not in (match[2], rest[0]) and not _is_known(ending[1]):
        raise ModelNotFound(
            f"{text}: no such release; if somebody else published it, give it with its publisher: org/{name}"
        )
    return release, ending[1] if ending else ""


def _is_release(ending: str) -> bool:
    return ending.lower() in ("", "fp8", *OTHER_RELEASES)


def _is_known(ending: str) -> bool:
    """Whether an ending of a released name is that of another release of it, or of its GGUF files."""
    return _is_release(ending) or ending.lower().startswith("gguf") or quantization_in(ending) == ending.upper()


def _of_member(name: str, release: str, ending: str) -> HubModel:
    quant = ending.upper()
    if quant in ("", "BF16", "LATEST"):
        return HubModel(name, BF16_REPOSITORY.format(release))
    if quant.lower() in OTHER_RELEASES:
        return HubModel(name, BF16_REPOSITORY.format(f"{release}-{OTHER_RELEASES[quant.lower()]}"))
    if quant == "FP8":
        alias = alias_of(release)
        if alias in NOT_RELEASED_IN_FP8 and "/" not in name:
            raise ModelNotFound(f"{name}: {release} was not released in FP8; take {alias}-q8_0")
        return HubModel(name, FP8_REPOSITORY.format(release))
    quant = re.sub(r"^GGUF[-:]?", "", quant)
    return HubModel(name, GGUF_REPOSITORY.format(release), quant or None)


def _of_repository(name: str, repository: str, path: str | None, tag: str | None, revision: str | None) -> HubModel:
    """`tag`: a quantization, or as Ollama has it a file; LM Studio writes a quantization behind the @."""
    if revision is not None and tag is None and quantization_in(revision) == revision.upper():
        tag, revision = revision, None
    if tag is not None and tag.lower().endswith(".gguf"):
        path, tag = tag, None
    quant = tag.upper() if tag and tag.lower() != "latest" else None
    return HubModel(name, repository, quant, path, None if revision == "main" else revision)


def _link_path(text: str) -> tuple[str, dict[str, list[str]]] | None:
    """The path and the query of a link to the hub, with or without https://; None when a text is no such link."""
    scheme = _SCHEME.match(text)
    if scheme and scheme["scheme"].lower() == "hf":
        return unquote(text[scheme.end() :]), {}
    try:
        parts = urlsplit(text if scheme else f"https://{text}")
        hosts = [*HUB_HOSTS, urlsplit(os.environ.get("HF_ENDPOINT", "")).netloc.lower()]
    except ValueError:
        return None
    if parts.netloc.lower().removeprefix("www.") not in filter(None, hosts):
        return None
    return re.sub("/+", "/", unquote(parts.path)).strip("/"), parse_qs(parts.query)


def _linked(name: str, path: str, query: dict[str, list[str]]) -> HubModel:
    """The model of a link's path: org/name, or what stands behind it on the hub's pages of a repository."""
    path = path.removeprefix("api/").removeprefix("models/")
    parts = path.split("/")
    if parts[0].lower() in HUB_HOSTS:  # pasted behind another link's beginning
        return _linked(name, "/".join(parts[1:]), query)
    if parts[0] in ("datasets", "spaces", "collections", "papers", "docs", "blog", "buckets"):
        raise ModelNotFound(f"{cleaned(name)}: is no model's page; give the model's, as org/name")
    match = _REPOSITORY.fullmatch("/".join(parts[:2]))
    if match is None:
        raise ModelNotFound(f"{cleaned(name)}: names no repository; give the model as org/name")
    repository, tag, revision = match["repository"], match["tag"], match["revision"]
    inside: str | None = None
    if len(parts) > 3 and parts[2] in ("blob", "resolve", "raw", "tree", "commit"):
        behind = 6 if parts[3:5] == ["refs", "pr"] else 4  # refs/pr/N is one name
        revision, inside = "/".join(parts[3:behind]), "/".join(parts[behind:])
    elif len(parts) > 2 and parts[-1].lower().endswith(_MODEL_ENDINGS):
        inside = "/".join(parts[2:])
    elif len(parts) > 2 and (last := _REPOSITORY.fullmatch(path)):
        inside, tag, revision = last["path"].lstrip("/"), last["tag"], last["revision"]
        inside = inside if inside.lower().endswith(_MODEL_ENDINGS) else None
    inside = query.get("show_file_info", [inside])[0]
    if inside and inside.lower().endswith(FILE_ENDINGS) and not inside.lower().endswith(_MODEL_ENDINGS):
        inside = None  # one of the files beside a model's weights
    model = _of_repository("", repository, inside or None, tag, revision)
    own = model.repository + (f"/{model.path}" if model.path else "") + (f":{model.quant}" if model.quant else "")
    own += f"@{model.revision}" if model.revision else ""
    if not _REPOSITORY.fullmatch(own):
        raise ModelNotFound(f"{cleaned(name)}: names no file or revision that can be; give the model as org/name")
    if model.path and not model.path.lower().endswith(_MODEL_ENDINGS):  # a folder, which only a link can name
        own = f"hf.co/{model.repository}/tree/{model.revision or 'main'}/{model.path}"
    elif model.repository.lower().endswith(_MODEL_ENDINGS):  # which would be a path without its host
        own = f"hf.co/{own}"
    return HubModel(own, model.repository, model.quant, model.path, model.revision)


def _refuse_other_hosts(text: str) -> None:
    """Raises ModelNotFound for links that people paste from elsewhere, with what to do."""
    lower = text.lower()
    if match := re.match(
        r"(?:(?:https?://)?(?:www\.)?modelscope\.(?:cn|ai)|modelscope:/|ms:/)/+(?:models/)?(.*)", lower
    ):
        model = "/".join(text[match.start(1) :].split("/")[:2]) or "org/name"
        raise ModelNotFound(
            f"{text}: qwill does not download from ModelScope; take {model} if the hub has it, or load it with"
            f" modelscope download --model {model} --local_dir FOLDER and give that folder"
        )
    if match := re.match(r"(?:https?://)?(?:www\.)?(?:registry\.)?ollama\.(?:com|ai)/+(?:library/)?([^?#]*)", lower):
        raise ModelNotFound(
            f"{text}: qwill does not download from Ollama's library; what Ollama has on this machine is"
            f" ollama:{match[1] or 'NAME'}; the hub has {aliases()[-1]}-q4_k_m and others"
        )
    if (scheme := _SCHEME.match(text)) and scheme["scheme"].lower() != "hf" and _link_path(text) is None:
        raise ModelNotFound(
            f"{text}: is no link to a model of the hub; download it and give the file, or name it as org/name"
        )


def _nothing(text: str) -> ModelNotFound:
    if text.lower().endswith(_MODEL_ENDINGS) and "/" not in text and (release := named_member(text)):
        quant = plain_quantization(quantization_of(text)).lower()
        alias = f"{alias_of(release)}-{quant}" if quant else alias_of(release)
        return ModelNotFound(f"{text}: no such file; from the hub: qwill pull {alias}")
    if "/" in text or "\\" in text or _DRIVE.match(text) or text.lower().endswith(_MODEL_ENDINGS):
        return ModelNotFound(f"{text}: no such file or folder")
    return ModelNotFound(f"{text}: no such file, folder or model; try {aliases()[-1]}, or org/name of the hub")
