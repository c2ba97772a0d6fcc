"""What a scene's mask becomes on disk: rasters, polygons, styles, all or nothing."""
