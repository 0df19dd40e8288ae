"""One wheel by scikit-build-core and zig."""

import json
import os
from pathlib import Path

from wheel_building import headers, import_library
from wheel_building.environment import run
from wheel_building.platforms import Platform, Python

ROOT = Path(__file__).resolve().parent.parent.parent
_BUILD = """
import json, sys
from build_backend import zig
from scikit_build_core.build import build_wheel
build_wheel(sys.argv[1], zig.settings(sys.argv[2]) | json.loads(sys.argv[3]))
"""
_ZIG = "from build_backend import zig; print(zig.executable())"


def built(platform: Platform, python: Python, interpreter: Path, target: Path) -> Path:
    """Builds the wheel into the folder `target` and returns its file. Raises WheelError where that fails."""
    folder = Path("build", "wheels", f"{python.tag}-{platform.tag}")
    settings = {"build-dir": str(folder)}
    if python.stable:
        settings["wheel.py-api"] = f"cp{python.digits}"
    if platform.system != "linux":
        settings |= _elsewhere(platform, python, interpreter, ROOT / "build" / "wheels" / "python")
    environment = {
        **os.environ,
        "PATH": f"{interpreter.parent}{os.pathsep}{os.environ['PATH']}",
        # By these scikit-build-core learns of another platform than the one it runs on.
        "_PYTHON_HOST_PLATFORM": platform.host,
        "SETUPTOOLS_EXT_SUFFIX": platform.suffix.format(version=python.digits),
    }
    run(
        [str(interpreter), "-c", _BUILD, str(target), platform.target, json.dumps(settings)],
        f"the wheel {python.tag}-{platform.tag} is not built",
        cwd=ROOT,
        env=environment,
    )
    (wheel,) = target.glob(f"qwill-*-{python.tag}-*.whl")
    if platform.system == "linux":
        # Python names the system alone there, a wheel also the oldest C library, which zig was told.
        tags = [str(interpreter), "-m", "wheel", "tags", "--remove", "--platform-tag", platform.tag, str(wheel)]
        run(tags, f"{wheel.name} is not renamed")
        (wheel,) = target.glob(f"qwill-*-{python.tag}-{platform.tag}.whl")
    return wheel


def _elsewhere(platform: Platform, python: Python, interpreter: Path, folder: Path) -> dict[str, str]:
    """Settings by which CMake finds headers and, for Windows, import libraries that serve for another system. Those lie
    in `folder`."""
    include = headers.made(interpreter, folder / f"include-{python.digits}")
    settings = {"cmake.define.Python_INCLUDE_DIR": str(include)}
    if platform.system == "windows":
        zig = run([str(interpreter), "-c", _ZIG], "ziglang is not installed whole", cwd=ROOT).strip()
        settings["cmake.define.Python_LIBRARY"] = str(import_library.made(zig, include, python.digits, folder))
        if python.stable:
            settings["cmake.define.Python_SABI_LIBRARY"] = str(import_library.made(zig, include, "3", folder))
    return settings
