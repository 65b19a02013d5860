"""A real rtsp server for the tests."""
