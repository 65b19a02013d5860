"""The incremental engine: streams, contexts and asking."""
