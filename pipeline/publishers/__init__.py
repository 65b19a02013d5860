"""Where replies go."""
