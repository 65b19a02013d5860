"""The process: settings, wiring, supervision, logs, metrics, health, the vigil command."""
