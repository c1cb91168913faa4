"""The parts of the detector, and the one function that composes them."""
