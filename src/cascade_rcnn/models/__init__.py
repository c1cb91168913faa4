"""The parts of the detector, and the function that composes them."""
