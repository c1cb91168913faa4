"""The local web page of a detector, by gradio."""
