"""Installing, enabling, removing and checking the QGIS plugin in a user's profile."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path

from geocloud.checks import Finding
from geocloud.errors import OptionError, OutputError

NAME = "geocloud"
ENVIRONMENT = "environment.json"
TIMEOUT = 120
"""Seconds that an interpreter or QGIS may take to print its version."""


def profiles_folders() -> list[Path]:
    """The folders where QGIS 3 and 4 keep profiles on this system, existing ones first."""
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA", Path.home() / "AppData" / "Roaming")) / "QGIS"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support" / "QGIS"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "QGIS"
    folders = [base / "QGIS3" / "profiles", base / "QGIS4" / "profiles"]
    return sorted(folders, key=lambda folder: not folder.is_dir())


def find_profiles(profile: str, folder: Path | None = None) -> list[Path]:
    """The profiles of a name in every QGIS found: where it keeps profiles, or else by its program on the PATH.

    Raises OptionError if there is neither, or if there are profiles, but none of that name.
    """
    places = [folder] if folder else profiles_folders()
    there = [place / profile for place in places if place.is_dir()]
    names = sorted({path.name for place in there for path in place.parent.iterdir() if path.is_dir()})
    if names and profile not in names:
        raise OptionError(f"no QGIS profile {profile!r}; there are: {', '.join(names)}")
    if not there and folder:
        raise OptionError(f"{folder}: no such folder; wanted the one that holds QGIS's profiles")
    if not there and _program() is None:
        raise OptionError(
            f"no QGIS found: neither {' nor '.join(map(str, places))}, nor a program on the PATH; install QGIS, or "
            "name the folder of its profiles: --profiles DIR"
        )
    return [path for path in there if path.is_dir()] or there or [places[0] / profile]


def plugin_folder(profile: Path) -> Path:
    """Folder of the plugin in a profile."""
    return profile / "python" / "plugins" / NAME


def install(profile: Path) -> Path:
    """Copies the plugin into a profile, enables it, and sets this Python as the one it runs. Returns its folder.

    An earlier copy is replaced. Raises OutputError.
    """
    target = plugin_folder(profile)
    plugins, fresh = target.parent, target.with_name(f".{NAME}-new")
    try:
        plugins.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(fresh, ignore_errors=True)
        with as_file(files("geocloud").joinpath("qgis", "plugin")) as source:
            shutil.copytree(source, fresh, ignore=shutil.ignore_patterns("__pycache__"))
        metadata = fresh / "metadata.txt"
        text = metadata.read_text(encoding="utf-8").replace("version=VERSION", f"version={version(NAME)}")
        metadata.write_text(text, encoding="utf-8")
        environment = {"python": sys.executable, "version": version(NAME)}
        (fresh / ENVIRONMENT).write_text(json.dumps(environment, indent=1), encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
        _switch(profile, on=True)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror})") from error
    return target


def uninstall(profile: Path) -> bool:
    """Removes the plugin from a profile; False if it was not there. Raises OutputError."""
    target = plugin_folder(profile)
    if not target.is_dir():
        return False
    try:
        shutil.rmtree(target)
        _switch(profile, on=False)
    except OSError as error:
        raise OutputError(f"{target}: cannot be deleted ({error.strerror})") from error
    return True


def examine(profile: Path) -> Iterator[Finding]:
    """Checks a profile's plugin: is it there, enabled, of this version, and does its Python have geocloud?"""
    target = plugin_folder(profile)
    again = f"run: geocloud qgis install --profile {profile.name}"
    yield Finding(
        "profile", profile.is_dir(), str(profile) if profile.is_dir() else f"{profile}: does not exist; start QGIS once"
    )
    there = (target / "metadata.txt").is_file()
    yield Finding("plugin", there, str(target) if there else f"{target}: not installed; {again}")
    if there:
        found = re.search(r"^version=(.*)$", (target / "metadata.txt").read_text(encoding="utf-8"), re.MULTILINE)
        same = bool(found) and found is not None and found[1] == version(NAME)
        yield Finding("version", same, version(NAME) if same else f"the plugin has another version; {again}")
        on = f"{NAME}=true" in _settings(profile)
        yield Finding("enabled", on, "yes" if on else f"no; enable it in QGIS's plugin manager, or {again}")
        yield _examine_python(target, again)
    yield _examine_qgis()


def _examine_python(target: Path, again: str) -> Finding:
    try:
        python = str(json.loads((target / ENVIRONMENT).read_text(encoding="utf-8"))["python"])
    except (OSError, ValueError, KeyError):
        return Finding("Python", False, f"{target / ENVIRONMENT}: cannot be read; {again}")
    said = _ask([python, "-m", "geocloud_cli", "--version"])
    return Finding("Python", said is not None, f"{python}: {said}" if said else f"{python}: has no geocloud; {again}")


def _program() -> str | None:
    return next((found for name in ("qgis_process.bin", "qgis_process", "qgis") if (found := shutil.which(name))), None)


def _examine_qgis() -> Finding:
    program = _program()
    if program is None:
        return Finding("QGIS", True, "not on the PATH; it need not be, if you start it otherwise")
    said = _ask([program, "--version"])
    return Finding("QGIS", said is not None, f"{program}: {said.splitlines()[0] if said else 'does not run'}")


def _ask(command: list[str]) -> str | None:
    """Output of a program; None if it fails or prints nothing."""
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    try:
        done = subprocess.run(  # noqa: S603 - programs found above
            command, capture_output=True, text=True, timeout=TIMEOUT, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _ini(profile: Path) -> Path:
    """The settings file of a profile."""
    version4 = profile.parent.parent.name == "QGIS4"
    return profile / "QGIS" / ("QGIS4.ini" if version4 else "QGIS3.ini")


def _settings(profile: Path) -> str:
    path = _ini(profile)
    return path.read_text(encoding="utf-8", errors="surrogateescape") if path.is_file() else ""


def _switch(profile: Path, on: bool) -> None:
    """Enables or disables the plugin; all other lines of QGIS's settings are kept."""
    head = "[PythonPlugins]"
    lines = [line for line in _settings(profile).splitlines() if line.partition("=")[0] != NAME]
    if on:
        if head not in lines:
            lines += [head]
        lines.insert(lines.index(head) + 1, f"{NAME}=true")
    path = _ini(profile)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")
    fresh.replace(path)
