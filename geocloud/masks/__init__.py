"""Masks: their codes, and what is done to them after the model."""
