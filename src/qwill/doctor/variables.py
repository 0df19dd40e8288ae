"""Environment variables that change what qwill does: which are set, and values only where they can hold no secret."""

import os
import re

# Switches and counts, whose values help and tell nothing about anybody.
SWITCHES = (
    "QWILL_ISA", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_XET", "HF_HUB_ENABLE_HF_TRANSFER", "HF_HUB_DOWNLOAD_TIMEOUT",
    "HF_HUB_ETAG_TIMEOUT", "HF_XET_HIGH_PERFORMANCE", "HF_HUB_DISABLE_SYMLINKS_WARNING", "NO_COLOR", "FORCE_COLOR",
    "COLUMNS", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONOPTIMIZE",
    "PYTHONNOUSERSITE", "PYTHONSAFEPATH", "PYTHON_GIL", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
    "MALLOC_ARENA_MAX", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "LANG", "LC_ALL",
    "LC_CTYPE", "TERM",
)  # fmt: skip
# Paths, addresses and secrets: only that they are set.
SET = (
    "QWILL_API_KEY", "HF_HUB_CACHE", "HF_HOME", "HF_ENDPOINT", "HF_TOKEN", "HF_TOKEN_PATH", "HUGGING_FACE_HUB_TOKEN",
    "XDG_CACHE_HOME", "LOCALAPPDATA", "OLLAMA_MODELS", "TMPDIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "all_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "LD_LIBRARY_PATH", "LD_PRELOAD",
    "DYLD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "VK_ICD_FILENAMES", "VK_DRIVER_FILES",
)  # fmt: skip
UNSHOWN = "set"
_HARMLESS = re.compile(
    r"\d{1,4}(,\d{1,4})*|true|false|yes|no|on|off|strict|replace"
    r"|scalar|avx2|avx512|avx512_bf16|neon|neon_i8mm"
    r"|(C|POSIX|[a-z]{2,3}(_[A-Z]{2})?)(\.(utf-?8|iso-?8859-?\d{1,2}|ascii))?(@euro)?"
    r"|(utf-?8|latin-?1|ascii|cp\d{3,5})(:(strict|replace|ignore|surrogateescape))?"
    r"|(xterm|screen|tmux|rxvt|vt\d{3}|linux|dumb|ansi|cygwin)(-\d{1,3}color)?",
    re.IGNORECASE,
)


def variables() -> dict[str, str]:
    """Values of variables that are set and not empty; "set" for what is not shown."""
    names = sorted(name for name in {*SWITCHES, *SET} if os.environ.get(name))
    if os.name == "nt":  # always set there, and nobody's choice
        names = [name for name in names if name != "LOCALAPPDATA"]
    return {name: _shown(name, os.environ[name]) for name in names}


def _shown(name: str, value: str) -> str:
    return value if name in SWITCHES and _HARMLESS.fullmatch(value) else UNSHOWN
