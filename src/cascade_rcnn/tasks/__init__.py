"""RoI tasks: what a region is asked beyond its class and box."""
