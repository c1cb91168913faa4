"""Which preset a new model should have: the same network, start and number of images, and the rest of the preset."""
