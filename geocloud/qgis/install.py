"""Installation, removal and checks of the QGIS plugin in a user's profile."""

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

from geocloud._checks import Finding
from geocloud.errors import OptionError, OutputError

NAME = "geocloud"
ENVIRONMENT = "environment.json"
TIMEOUT = 120
"""Timeout in seconds for an interpreter or QGIS to print its version."""


def profiles_folders() -> list[Path]:
    """The folders where QGIS 3 and 4 keep profiles on this system, existing ones first."""
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA", Path.home() / "AppData" / "Roaming"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    folders = [base / "QGIS" / name / "profiles" for name in ("QGIS3", "QGIS4")]
    return sorted(folders, key=lambda folder: not folder.is_dir())


def find_profiles(profile: str, folder: Path | None = None) -> list[Path]:
    """The profiles of a name in all of QGIS's folders of profiles; a new one if QGIS has none yet.

    Raises OptionError if QGIS is not installed, or if it has profiles, but none of that name.
    """
    places = [folder] if folder else profiles_folders()
    existing = [place for place in places if place.is_dir()]
    names = sorted({path.name for place in existing for path in place.iterdir() if path.is_dir()})
    if names and profile not in names:
        raise OptionError(f"no QGIS profile {profile!r}; there are: {', '.join(names)}")
    if not existing and folder:
        raise OptionError(f"{folder}: no such folder; wanted the one that holds QGIS's profiles")
    if not existing and _program() is None:
        raise OptionError(
            f"no QGIS found: neither {' nor '.join(map(str, places))}, nor a program on the PATH; install QGIS, or "
            "name the folder of its profiles: --profiles DIR"
        )
    profiles = [place / profile for place in existing or places[:1]]
    return [path for path in profiles if path.is_dir()] or profiles


def plugin_folder(profile: Path) -> Path:
    """Folder of the plugin in a profile."""
    return profile / "python" / "plugins" / NAME


def install(profile: Path) -> Path:
    """Copies the plugin into a profile, enables it, and sets this Python as the one that it runs. Returns its folder.

    An earlier copy is replaced. Raises OutputError.
    """
    target = plugin_folder(profile)
    fresh = target.with_name(f".{NAME}-new")
    try:
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
    """Checks that a profile's plugin is installed, enabled and of this version, and that its Python has geocloud."""
    target, again = plugin_folder(profile), f"run: geocloud qgis install --profile {profile.name}"
    metadata, exists = target / "metadata.txt", profile.is_dir()
    yield Finding("profile", exists, str(profile) if exists else f"{profile}: does not exist; start QGIS once")
    if not metadata.is_file():
        yield Finding("plugin", False, f"{target}: not installed; {again}")
    else:
        yield Finding("plugin", True, str(target))
        same = re.search(rf"^version={re.escape(version(NAME))}$", metadata.read_text(encoding="utf-8"), re.MULTILINE)
        yield Finding("version", bool(same), version(NAME) if same else f"the plugin has another version; {again}")
        on = f"{NAME}=true" in _settings(profile)
        yield Finding("enabled", on, "yes" if on else f"no; enable it in QGIS's plugin manager, or {again}")
        try:
            python = str(json.loads((target / ENVIRONMENT).read_text(encoding="utf-8"))["python"])
        except (OSError, ValueError, KeyError):
            yield Finding("Python", False, f"{target / ENVIRONMENT}: cannot be read; {again}")
        else:
            answer = _ask([python, "-m", "geocloud_cli", "--version"])
            yield Finding("Python", bool(answer), f"{python}: {answer or f'has no geocloud; {again}'}")
    if program := _program():
        answer = _ask([program, "--version"])
        yield Finding("QGIS", bool(answer), f"{program}: {answer.splitlines()[0] if answer else 'does not run'}")
    else:
        yield Finding("QGIS", True, "not on the PATH; it need not be, if you start it otherwise")


def _program() -> str | None:
    return next(filter(None, map(shutil.which, ("qgis_process.bin", "qgis_process", "qgis"))), None)


def _ask(command: list[str]) -> str:
    """Output of a program; empty if it fails."""
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    try:
        done = subprocess.run(  # noqa: S603 - programs named above
            command, capture_output=True, text=True, timeout=TIMEOUT, env=environment, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _ini(profile: Path) -> Path:
    """The settings file of a profile."""
    return profile / "QGIS" / ("QGIS4.ini" if profile.parent.parent.name == "QGIS4" else "QGIS3.ini")


def _settings(profile: Path) -> str:
    path = _ini(profile)
    return path.read_text(encoding="utf-8", errors="surrogateescape") if path.is_file() else ""


def _switch(profile: Path, on: bool) -> None:
    """Enables or disables the plugin; all other lines of QGIS's settings are kept."""
    head, path = "[PythonPlugins]", _ini(profile)
    lines = [line for line in _settings(profile).splitlines() if line.partition("=")[0] != NAME]
    if on:
        lines += [head] if head not in lines else []
        lines.insert(lines.index(head) + 1, f"{NAME}=true")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")
    fresh.replace(path)
