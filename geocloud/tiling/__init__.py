"""Tiling: scenes are cut into overlapping tiles, and the tiles' predictions blended into one raster."""
