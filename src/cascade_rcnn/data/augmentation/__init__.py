"""Training augmentation: one file per family, and `build`, which combines a list of configs into one transform."""
