"""Access to rasters and remote files: GDAL options, URLs, prefetching."""
