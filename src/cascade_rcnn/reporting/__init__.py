"""Reports that explain the AP of a detector, suggest what to do next, and compare two detectors."""
