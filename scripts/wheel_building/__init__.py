"""What scripts/wheels does: platforms, environments, building, checks."""
