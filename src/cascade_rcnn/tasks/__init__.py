"""RoI tasks: predictions per region beyond class and box."""
