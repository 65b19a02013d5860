"""What `vigil` can be told to do, a file each."""
