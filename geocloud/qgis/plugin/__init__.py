"""The QGIS plugin. QGIS's own Python imports it, by the name ``geocloud`` of the folder that it is copied to.

Nothing here imports the package geocloud: that lives in another Python environment, see ``runner.py``.
"""


def classFactory(iface):  # noqa: N802 - QGIS's name
    """What QGIS calls to load a plugin."""
    from .plugin import GeocloudPlugin

    return GeocloudPlugin()
