"""What is trained on: data sets as distributed, chips, samples."""
