"""What `vigil` can be told to do: a thin file each, with its options and the call they make."""
