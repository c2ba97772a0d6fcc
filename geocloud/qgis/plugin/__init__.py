"""The QGIS plugin. QGIS's own Python imports it as ``geocloud``, the name of its folder in the profile.

Nothing here imports the package geocloud, which is installed in another Python environment: see ``runner.py``.
"""


def classFactory(iface):  # noqa: N802 - QGIS's name
    """Creates the plugin; called by QGIS."""
    from .plugin import GeocloudPlugin

    return GeocloudPlugin()
