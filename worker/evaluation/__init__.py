"""`vigil eval`: how true a model's answers are."""
