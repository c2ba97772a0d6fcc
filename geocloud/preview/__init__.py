"""Quick-looks: pictures of scenes and masks."""
