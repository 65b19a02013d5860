"""`vigil console`: a page over Redis, in a process of its own; asyncio is used here alone."""
