"""The stages a frame goes through, from a source to the outbox."""
