"""Results of checks of the installation and of the QGIS plugin."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    what: str
    """The subject of the check."""
    well: bool
    """True if the check passed."""
    text: str
    """The finding, and the remedy if the check failed."""

    def __str__(self) -> str:
        return f"{'ok ' if self.well else 'BAD'} {self.what}: {self.text}"
