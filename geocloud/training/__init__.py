"""Training: chips with labels, augmentation, the loop, and the recipe of the bundled model."""
