"""Local web page for a detector, built with gradio."""
