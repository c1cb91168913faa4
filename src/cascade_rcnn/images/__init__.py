"""Images: files and arrays to RGB pixels. Only `tensors` needs torch, so that the runtime can do without it."""
