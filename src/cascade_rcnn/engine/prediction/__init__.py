"""Detection in image files and videos, with results saved after every batch."""
