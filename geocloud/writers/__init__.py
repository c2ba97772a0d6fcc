"""The results of a scene on disk: rasters, polygons and styles, all or nothing."""
