"""Writers of results: rasters, polygons and styles, published together or not at all."""
