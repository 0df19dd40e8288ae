"""Everything together: one table for people and programs, whatever of the installation is broken."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from typing import Any

from qwill.doctor.findings import findings
from qwill.doctor.imports import Imports
from qwill.doctor.installation import installation, python
from qwill.doctor.packages import packages, tried
from qwill.doctor.private import cleaned, home_folders, private_names, without_folders

# Modules and functions of the sections that need nothing of the others.
_SECTIONS = {
    "system": ("operating_system", "operating_system"),
    "threads": ("machine", "threads"),
    "memory": ("machine", "memory"),
    "pages": ("machine", "pages"),
    "folders": ("folders", "folders"),
    "variables": ("variables", "variables"),
    "streams": ("operating_system", "streams"),
    "limits": ("operating_system", "limits"),
}
# What makers call their processors and cards stays, though somebody be called Max.
_OF_MAKERS = ("processor", "cards")


def collect() -> dict[str, Any]:
    """What `qwill doctor --json` shows. A section that could not be made has the key `error` alone."""
    imports = Imports.begin(tried())
    with ThreadPoolExecutor(1) as beside:
        cards = beside.submit(_guarded, partial(_section, "cards", "cards"))  # programs of drivers take their time
        rest = {name: _guarded(partial(_section, *where)) for name, where in _SECTIONS.items()}
        failures = imports.failures()
        told = {
            "qwill": _guarded(lambda: installation(failures)),
            "python": _guarded(python),
            "processor": _guarded(lambda: import_module("qwill.doctor.machine").processor(failures)),
            "packages": _guarded(lambda: packages(failures)),
            **rest,
            "cards": cards.result(),
        }
    names, homes = private_names(), home_folders()
    told = {
        name: section if name in _OF_MAKERS and "error" not in section else cleaned(section, names, homes)
        for name, section in told.items()
    }
    return {"findings": [finding.told() for finding in findings(told)], **told}


def _section(module: str, function: str) -> dict[str, Any]:
    return getattr(import_module(f"qwill.doctor.{module}"), function)()


def _guarded(section: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A doctor is asked when things are broken: nothing that fails may keep the rest from being told."""
    try:
        return section()
    except Exception as error:
        place = sys.exc_info()[2]
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        at = f" (line {place.tb_lineno} of {place.tb_frame.f_globals.get('__name__')})" if place else ""
        return {"error": without_folders(f"{type(error).__name__}: {error}") + at}
