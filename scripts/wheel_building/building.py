"""One wheel by scikit-build-core and zig."""

import json
import os
from pathlib import Path

from wheel_building.environment import run
from wheel_building.platforms import Platform, Python

ROOT = Path(__file__).resolve().parent.parent.parent
_BUILD = """
import json, sys
from build_backend import zig
from scikit_build_core.build import build_wheel
build_wheel(sys.argv[1], zig.settings(sys.argv[2]) | json.loads(sys.argv[3]))
"""


def built(platform: Platform, python: Python, interpreter: Path, target: Path) -> Path:
    """Builds the wheel into the folder `target` and returns its file. Raises WheelError where that fails."""
    settings = {"build-dir": f"build/wheels/{python.tag}-{platform.tag}"}
    if python.stable:
        settings["wheel.py-api"] = f"cp{python.digits}"
    environment = {
        **os.environ,
        "PATH": f"{interpreter.parent}{os.pathsep}{os.environ['PATH']}",
        # By these scikit-build-core learns of another platform than the one it runs on.
        "_PYTHON_HOST_PLATFORM": platform.tag,
        "SETUPTOOLS_EXT_SUFFIX": platform.suffix.format(version=python.digits),
    }
    run(
        [str(interpreter), "-c", _BUILD, str(target), platform.target, json.dumps(settings)],
        f"the wheel {python.tag}-{platform.tag} is not built",
        cwd=ROOT,
        env=environment,
    )
    (wheel,) = target.glob(f"qwill-*-{python.tag}-{platform.tag}.whl")
    return wheel
