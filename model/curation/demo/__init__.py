"""Curation shown on pictures whose truth is known, with small networks that it makes itself."""
