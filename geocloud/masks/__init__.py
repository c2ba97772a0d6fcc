"""Masks: their codes, and their refinement after prediction."""
