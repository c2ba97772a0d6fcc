"""Training data: data sets on disk, chips and samples."""
