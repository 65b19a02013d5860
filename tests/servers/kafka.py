"""A real kafka server for the tests."""
