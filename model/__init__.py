"""Vigil's model: VideoLLaMA3 in plain torch. Knows no camera, broker, setting or clock."""
