"""Scenes cut into overlapping tiles, and the predictions of the tiles blended into one raster."""
