"""Pictures of scenes and masks."""
