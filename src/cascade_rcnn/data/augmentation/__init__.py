"""Training augmentation: one file per family, and `build`, which turns a list of configs into one transform."""
