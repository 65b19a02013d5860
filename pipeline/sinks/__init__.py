"""Where pictures go that another process is to see: from a camera's frames to records on Kafka."""
