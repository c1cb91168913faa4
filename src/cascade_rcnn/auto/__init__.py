"""Training settings chosen from a survey of the data by rules, without training anything."""
