"""A real redis server for the tests."""
