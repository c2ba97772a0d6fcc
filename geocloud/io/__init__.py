"""Reading of rasters and remote files: GDAL options, URLs, prefetching."""
