"""How rasters and remote files are read: GDAL's settings, addresses, reading ahead."""
