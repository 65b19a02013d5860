"""What `vigil train` does beside the model's own training code."""
