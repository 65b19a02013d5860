"""The demo: a worker, a camera and a Redis on this machine."""
