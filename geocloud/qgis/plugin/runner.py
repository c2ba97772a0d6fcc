"""Runs geocloud in the Python environment that installed this plugin."""

import json
import os
import re
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from qgis.core import QgsProcessingException

ENVIRONMENT = Path(__file__).with_name("environment.json")
QGIS_ONLY = re.compile(
    r"PYTHON(HOME|PATH|EXECUTABLE|STARTUP)|VIRTUAL_ENV|GDAL_(DATA|DRIVER_PATH)|PROJ_(LIB|DATA)|(DY)?LD_LIBRARY_PATH|"
    r"QT_PLUGIN_PATH"
)
"""Environment variables that QGIS sets for itself and that break other Pythons."""
ERROR, NOTE = "geocloud: error: ", "geocloud: note: "


def interpreter():
    """Path of the Python that has geocloud installed. Raises QgsProcessingException."""
    try:
        python = json.loads(ENVIRONMENT.read_text(encoding="utf-8"))["python"]
    except (OSError, ValueError, KeyError) as error:
        raise QgsProcessingException(f"{ENVIRONMENT}: cannot be read; run 'geocloud qgis install' again") from error
    if not Path(python).exists():
        raise QgsProcessingException(
            f"{python}: not found; run 'geocloud qgis install' in geocloud's environment again"
        )
    return python


def run(arguments, feedback, share):
    """Runs ``geocloud ARGUMENTS`` and returns its output; None if it was cancelled.

    ``share`` converts a line of progress (a dict) to per cent done. Raises QgsProcessingException with the error
    message of geocloud.
    """
    environment = {key: value for key, value in os.environ.items() if not QGIS_ONLY.fullmatch(key)}
    command, reason = [interpreter(), "-m", "geocloud_cli", *arguments], ""
    feedback.pushCommandInfo(" ".join(command))
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        with subprocess.Popen(  # noqa: S603 - geocloud itself, by full path
            command,
            env={**environment, "PYTHONUTF8": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            creationflags=subprocess.CREATE_NO_WINDOW if os.name == "nt" else 0,
        ) as process:
            threading.Thread(target=_end_if_cancelled, args=(process, feedback), daemon=True).start()
            for line in process.stderr:
                if line.startswith("{"):
                    feedback.setProgress(share(json.loads(line)))
                elif line.startswith(ERROR):
                    reason = line.removeprefix(ERROR).strip()
                elif line.strip():
                    feedback.pushInfo(line.strip().removeprefix(NOTE))
        output.seek(0)
        printed = output.read()
    if feedback.isCanceled():
        feedback.pushInfo("cancelled")
        return None
    if process.returncode and not printed.strip():
        raise QgsProcessingException(reason or f"geocloud ended with exit code {process.returncode}")
    return printed


def _end_if_cancelled(process, feedback):
    while process.poll() is None:
        if feedback.isCanceled():
            process.terminate()  # geocloud cleans up after itself
            return
        time.sleep(0.2)
