"""lmms-eval's task files for rendered scenes, one of each shape that its benchmarks have."""
