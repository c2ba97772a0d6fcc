"""Scenes cut into overlapping tiles, and what a model says of them put together again."""
