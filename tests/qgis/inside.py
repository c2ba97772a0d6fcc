"""Runs inside QGIS's own Python: ``inside.py JOB.json``.

Loads layers, reports how QGIS reads them, renders maps, and cancels an algorithm. Prints JSON.
"""

import json
import os
import sys
from pathlib import Path

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterLayer,
    QgsRenderContext,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor


def rectangle(found):
    return [found.xMinimum(), found.yMinimum(), found.xMaximum(), found.yMaximum()]


def rgba(colour):
    return [colour.red(), colour.green(), colour.blue(), colour.alpha()]


def raster(path):
    layer = QgsRasterLayer(path, "raster")
    if not layer.isValid():
        return layer, {"valid": False}
    renderer, provider = layer.renderer(), layer.dataProvider()
    found = {
        "valid": True,
        "crs": layer.crs().authid(),
        "extent": rectangle(layer.extent()),
        "size": [layer.height(), layer.width()],
        "renderer": renderer.type(),
        "legend": [[item[0], rgba(item[1])] for item in renderer.legendSymbologyItems()],
        "nodata": provider.sourceNoDataValue(1) if provider.sourceHasNoDataValue(1) else None,
    }
    if renderer.type() == "paletted":
        found["classes"] = [[c.value, c.label, rgba(c.color)] for c in renderer.classes()]
    return layer, found


def vector(path):
    layer = QgsVectorLayer(path, "vector", "ogr")
    if not layer.isValid():
        return layer, {"valid": False}
    renderer = layer.renderer()
    symbols = renderer.symbols(QgsRenderContext())
    return layer, {
        "valid": True,
        "crs": layer.crs().authid(),
        "extent": rectangle(layer.extent()),
        "features": layer.featureCount(),
        "renderer": renderer.type(),
        "title": layer.metadata().title(),
        "abstract": layer.metadata().abstract(),
        "fields": [field.name() for field in layer.fields()],
        "fill": rgba(symbols[0].symbolLayer(0).fillColor()),
        "stroke": rgba(symbols[0].symbolLayer(0).strokeColor()),
        "labels": [item.label() for item in renderer.legendSymbolItems()],
    }


def draw(layers, path, around):
    settings = QgsMapSettings()
    settings.setLayers(layers)
    settings.setDestinationCrs(around.crs())
    settings.setExtent(around.extent())
    settings.setOutputSize(QSize(480, 480))
    settings.setBackgroundColor(QColor(255, 255, 255))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(path)


class Impatient(QgsProcessingFeedback):
    """Feedback that cancels at the first report of progress."""

    def setProgress(self, progress):  # noqa: N802 - QGIS's name
        super().setProgress(progress)
        if progress > 0:
            self.cancel()


def cancel(job):
    sys.path.insert(0, job["plugins"])
    from geocloud.plugin import Provider

    provider = Provider()
    QgsApplication.processingRegistry().addProvider(provider)
    algorithm = QgsApplication.processingRegistry().createAlgorithmById("geocloud:mask")
    feedback = Impatient()
    results, well = algorithm.run(
        {"INPUT": job["input"], "OUTPUT": job["output"], "UNITS": 4}, QgsProcessingContext(), feedback
    )
    return {"cancelled": feedback.isCanceled(), "well": well, "results": results}


def main(job):
    application = QgsApplication([], False)
    application.initQgis()
    found = {"version": Qgis.QGIS_VERSION}
    layers = {}
    for name, path in job.get("rasters", {}).items():
        layers[name], found[name] = raster(path)
    for name, path in job.get("vectors", {}).items():
        layers[name], found[name] = vector(path)
    for path, names in job.get("maps", {}).items():
        draw([layers[name] for name in names], path, layers[names[-1]])
    if "cancel" in job:
        found["cancel"] = cancel(job["cancel"])
    assert QgsCoordinateReferenceSystem("EPSG:4326").isValid()
    QgsProject.instance().clear()
    print("FOUND " + json.dumps(found), flush=True)
    os._exit(0)  # a regular exit of QGIS sometimes crashes


main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
