"""Programs that make model files, each in an environment of its own: `scripts/tools` installs them."""

import os
import subprocess
from pathlib import Path

import pytest

MAKERS = Path(__file__).parent / "makers"
SECONDS = 900


def make(environment: str, maker: str, *arguments: object) -> str:
    """Runs `makers/<maker>.py` with the Python of an environment, named as its file in `requirements/`.

    Makers import nothing of qwill: what they write is the tool's own. Returns what the maker printed. Fails, with the
    end of its output, when it does.
    """
    cache = os.environ.get("QWILL_TOOLS")
    if cache is None:
        pytest.fail("QWILL_TOOLS is not set; run scripts/tools")
    python = Path(cache) / environment / "bin" / "python"
    command = [str(python), str(MAKERS / f"{maker}.py"), *map(str, arguments)]
    # One thread: sums are then taken in one order. Nothing is fetched.
    surroundings = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(MAKERS)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=surroundings, check=False)
    if done.returncode:
        pytest.fail(f"{maker} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout
