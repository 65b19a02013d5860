"""All that is VideoLLaMA3: its shapes, weights, words and pixels."""
