"""Public benchmarks: `deploy/evaluate` runs lmms-eval over a model as it is served."""
