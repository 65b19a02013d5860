"""`vigil check --model --clip`: whether a model's answers can be believed, on a user's own clip."""
