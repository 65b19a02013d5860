"""`vigil eval --video --labels`: how right a model is on a camera of one's own."""
