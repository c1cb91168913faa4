"""Detection in files, with results saved after every batch."""
