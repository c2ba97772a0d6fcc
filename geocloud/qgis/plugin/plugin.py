"""Registers the algorithms with QGIS Processing."""

from pathlib import Path

from qgis.core import QgsApplication, QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .algorithms import MaskClouds, MaskFolder, Preview

ICON = str(Path(__file__).with_name("icon.svg"))


class Provider(QgsProcessingProvider):
    """The provider of geocloud's algorithms in the Processing toolbox."""

    def id(self):
        return "geocloud"

    def name(self):
        return "geocloud"

    def icon(self):
        return QIcon(ICON)

    def loadAlgorithms(self):  # noqa: N802 - QGIS's name
        for algorithm in (MaskClouds, MaskFolder, Preview):
            self.addAlgorithm(algorithm())


class GeocloudPlugin:
    """The plugin, created when QGIS loads it."""

    def __init__(self):
        self.provider = None

    def initProcessing(self):  # noqa: N802 - QGIS's name
        self.provider = Provider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self):  # noqa: N802 - QGIS's name
        self.initProcessing()

    def unload(self):
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
            self.provider = None
