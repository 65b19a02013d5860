"""How true a model's answers are."""
