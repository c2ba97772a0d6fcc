"""The QGIS plugin, and what installs it."""
