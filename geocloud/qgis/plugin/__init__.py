"""The QGIS plugin. QGIS's own Python imports it as ``geocloud``, the name of the folder that it is copied to.

Nothing here imports the package geocloud, which is installed in another Python environment: see ``runner.py``.
"""


def classFactory(iface):  # noqa: N802 - QGIS's name
    """QGIS calls this to load the plugin."""
    from .plugin import GeocloudPlugin

    return GeocloudPlugin()
