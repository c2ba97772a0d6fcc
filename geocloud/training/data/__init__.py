"""Training data: data sets on disk, chips, samples."""
