"""Where frames come from: RTSP cameras, Kafka topics, video files."""
