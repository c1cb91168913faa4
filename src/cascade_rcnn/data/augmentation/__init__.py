"""Training augmentation: one file for each family, and `build`, which makes a list of configs into one transform."""
