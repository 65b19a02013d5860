"""The training recipe: rendered scenes, stages, the loop and its measures."""
