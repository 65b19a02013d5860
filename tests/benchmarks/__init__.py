"""What only its developers measure: `python -m tests.benchmarks NAME`."""
