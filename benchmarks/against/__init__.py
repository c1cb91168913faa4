"""This package compared with what a user might choose instead: same data, same processor time, same image size."""
