"""Training settings chosen by rules from a survey of the data, without any training."""
