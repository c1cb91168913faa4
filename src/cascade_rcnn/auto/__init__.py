"""Settings chosen by the data: a survey of it, and rules from there to a recipe. Nothing is trained."""
