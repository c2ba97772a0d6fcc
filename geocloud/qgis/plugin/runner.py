"""Runs geocloud in the Python environment that installed this plugin."""

import json
import os
import subprocess
import threading
from pathlib import Path

from qgis.core import QgsProcessingException

ENVIRONMENT = Path(__file__).with_name("environment.json")

QGIS_ONLY = (
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONEXECUTABLE",
    "PYTHONSTARTUP",
    "GDAL_DATA",
    "GDAL_DRIVER_PATH",
    "PROJ_LIB",
    "PROJ_DATA",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "QT_PLUGIN_PATH",
    "VIRTUAL_ENV",
)
"""Environment variables that QGIS sets for itself, and that break another Python."""

MARKS = ("geocloud: error: ", "geocloud: note: ")


def interpreter():
    """Path of the Python that has geocloud installed. Raises QgsProcessingException."""
    try:
        found = json.loads(ENVIRONMENT.read_text(encoding="utf-8"))["python"]
    except (OSError, ValueError, KeyError) as error:
        raise QgsProcessingException(f"{ENVIRONMENT}: cannot be read; run 'geocloud qgis install' again") from error
    if not Path(found).exists():
        raise QgsProcessingException(f"{found}: not found; run 'geocloud qgis install' in geocloud's environment again")
    return found


def run(arguments, feedback, share):
    """Runs ``geocloud ARGUMENTS`` and returns its output; None if it was cancelled.

    ``share`` turns a line of progress (a dict) into per cent done. Raises QgsProcessingException with the reason if it
    fails.
    """
    environment = {key: value for key, value in os.environ.items() if key not in QGIS_ONLY}
    environment["PYTHONUTF8"] = "1"
    command = [interpreter(), "-m", "geocloud_cli", *arguments]
    feedback.pushCommandInfo(" ".join(command))
    hidden = {"creationflags": subprocess.CREATE_NO_WINDOW} if os.name == "nt" else {}
    with subprocess.Popen(  # noqa: S603 - geocloud itself, by full path
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        **hidden,
    ) as process:
        printed, reason = _follow(process, feedback, share)
    code = process.returncode
    if feedback.isCanceled():
        feedback.pushInfo("cancelled")
        return None
    if code and not printed.strip():
        raise QgsProcessingException(reason or f"geocloud ended with exit code {code}")
    return printed


def _follow(process, feedback, share):
    """Passes progress, messages and cancelling on; returns the output of the process, and why it failed."""
    done, printed, reason = threading.Event(), [], ""

    def end_when_cancelled():
        while not done.wait(0.2):
            if feedback.isCanceled():
                process.terminate()  # geocloud cleans up after itself
                return

    threads = [
        threading.Thread(target=end_when_cancelled, daemon=True),
        threading.Thread(target=lambda: printed.append(process.stdout.read()), daemon=True),
    ]
    for thread in threads:
        thread.start()
    for line in process.stderr:
        if line.startswith("{"):
            feedback.setProgress(share(json.loads(line)))
        elif line.startswith(MARKS[0]):
            reason = line[len(MARKS[0]) :].strip()
        elif line.strip():
            feedback.pushInfo(line.strip().removeprefix(MARKS[1]))
    process.wait()
    done.set()
    for thread in threads:
        thread.join()
    return printed[0], reason
