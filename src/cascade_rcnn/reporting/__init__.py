"""Reports that explain a detector's AP and suggest improvements, and comparisons of two detectors."""
