"""FP8: scales from text at hand, and the proof that the order holds."""
