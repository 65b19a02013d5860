"""What `vigil check --connect` tries: cameras, Redis, Kafka and the model, a line each."""
