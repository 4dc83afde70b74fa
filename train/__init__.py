"""Training: Lightning modules and their entry points."""
