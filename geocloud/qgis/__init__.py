"""The QGIS plugin and its installer."""
